package catalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
)

// generations numbers the snapshots of this process.
var generations atomic.Uint64

// ErrNotPrimary is returned by Load on a server in recovery, whose catalog may be behind.
var ErrNotPrimary = errors.New("catalog: the server is in recovery")

// Load reads a snapshot over a connection to the database, in one read-only transaction of its own. Any role will do;
// a role that has settings of its own for search_path hides that of the server (see EffectiveSearchPath).
//
// What the server deparses for us (view definitions, expressions) comes from its caches and can be newer than the
// transaction's snapshot. The digest is the snapshot's, so that the next look at it finds a difference and loads
// again.
func Load(ctx context.Context, conn *pgx.Conn) (*Snapshot, error) {
	s, _, err := load(ctx, conn, nil)
	return s, err
}

// load also says which transactions it has seen. What is known from an older snapshot isn't read again.
func load(ctx context.Context, conn *pgx.Conn, old *Snapshot) (s *Snapshot, visible string, err error) {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, "", fmt.Errorf("catalog: %w", err)
	}
	defer func() { _ = tx.Rollback(ctx) }()
	l := &loader{tx: tx, old: old, s: &Snapshot{
		schemas:     map[string]*Schema{},
		relations:   map[uint32]*Relation{},
		relByName:   map[qualifiedName]*Relation{},
		functions:   map[uint32]*Function{},
		funcsByName: map[string][]*Function{},
		types:       map[uint32]*Type{},
		typeByName:  map[qualifiedName]*Type{},
		opsByName:   map[string][]*Operator{},
		casts:       map[[2]uint32]*Cast{},
		castsTo:     map[uint32][]*Cast{},
		roles:       map[string]*role{},
		roleByOID:   map[uint32]*role{},
		relsNamed:   map[string][]*Relation{},
	}}
	for _, step := range []struct {
		what string
		run  func(context.Context) error
	}{
		{"database", l.database}, {"schemas", l.schemas}, {"roles", l.roles}, {"settings", l.settings},
		{"relations", l.relations}, {"columns", l.columns}, {"keys", l.keys}, {"inheritance", l.inheritance}, {"triggers", l.triggers}, {"cascades", l.cascades}, {"defaults", l.defaults},
		{"policies", l.policies}, {"types", l.types}, {"domains", l.domains}, {"functions", l.functions},
		{"aggregates", l.aggregates}, {"operators", l.operators}, {"casts", l.casts},
		// At last, since deparsing them locks the tables in them, until the transaction ends.
		{"views", l.views}, {"rules", l.rules},
	} {
		if err := step.run(ctx); err != nil {
			return nil, "", fmt.Errorf("catalog: reading %s: %w", step.what, err)
		}
	}
	if err := tx.Commit(ctx); err != nil {
		return nil, "", fmt.Errorf("catalog: %w", err)
	}
	l.s.Generation = generations.Add(1)
	return l.s, l.visible, nil
}

// loader fills a snapshot, one catalog per method.
type loader struct {
	tx      pgx.Tx
	s       *Snapshot
	old     *Snapshot // or nil
	visible string
}

// each runs a query and calls row for every row of it, after it was scanned into dest.
func (l *loader) each(ctx context.Context, sql string, dest []any, row func()) error {
	rows, err := l.tx.Query(ctx, sql)
	if err != nil {
		return err
	}
	_, err = pgx.ForEachRow(rows, dest, func() error { row(); return nil })
	return err
}

func (l *loader) database(ctx context.Context) error {
	var recovery bool
	var source string
	// With an empty search_path, everything outside of pg_catalog is deparsed with its schema.
	err := l.each(ctx, `SELECT set_config('search_path', '', true)`, []any{new(string)}, func() {})
	if err != nil {
		return err
	}
	err = l.each(ctx, `SELECT d.datname::text, d.datdba, pg_encoding_to_char(d.encoding)::text,
			current_setting('server_version_num')::int, pg_is_in_recovery()
		FROM pg_database d WHERE d.datname = current_database()`,
		[]any{&l.s.Database, &l.s.databaseOwner, &l.s.Encoding, &l.s.ServerVersion, &recovery}, func() {})
	if err != nil {
		return err
	}
	if recovery {
		return ErrNotPrimary
	}
	// reset_val is what this session began with. The server's own value shows only through a session that no setting
	// of a role or database has changed.
	if err := l.each(ctx, `SELECT s.reset_val, coalesce((SELECT 'role or database' FROM pg_db_role_setting r
				WHERE (r.setrole = 0 OR r.setrole = (SELECT oid FROM pg_roles WHERE rolname = session_user))
				AND (r.setdatabase = 0 OR r.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()))
				AND EXISTS (SELECT FROM unnest(r.setconfig) c WHERE c ILIKE 'search\_path=%') LIMIT 1), '')
		FROM pg_settings s WHERE s.name = 'search_path'`,
		[]any{&l.s.serverPath, &source}, func() {}); err != nil {
		return err
	}
	l.s.serverPathOK = source == ""
	return l.each(ctx, digestSQL(l.s.ServerVersion), []any{&l.s.Digest, &l.visible}, func() {})
}

// same tells whether nothing in these parts of the digest has changed since the old snapshot.
func (l *loader) same(parts ...string) bool {
	if l.old == nil || l.old.ServerVersion != l.s.ServerVersion {
		return false
	}
	changed := Changed(l.old.Digest, l.s.Digest)
	return !slices.ContainsFunc(changed, func(p string) bool { return p == "everything" || slices.Contains(parts, p) })
}

func (l *loader) schemas(ctx context.Context) error {
	var s Schema
	return l.each(ctx, `SELECT n.oid, n.nspname::text,
			coalesce((SELECT array_agg(a.grantee) FROM aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
				WHERE a.privilege_type = 'USAGE'), '{}')
		FROM pg_namespace n WHERE n.nspname !~ '^pg_(toast_)?temp_'`,
		[]any{&s.OID, &s.Name, &s.usage}, func() {
			schema := s
			l.s.schemas[s.Name] = &schema
			s.usage = nil
		})
}

func (l *loader) roles(ctx context.Context) error {
	var r role
	err := l.each(ctx, `SELECT oid, rolname::text, rolsuper, rolinherit, rolbypassrls FROM pg_roles`,
		[]any{&r.oid, &r.name, &r.super, &r.inherit, &r.bypass}, func() {
			role := r
			l.s.roles[r.name] = &role
			l.s.roleByOID[r.oid] = &role
		})
	if err != nil {
		return err
	}
	// Until 15 the member's INHERIT attribute decides for all its memberships; then each grant has an option of its own.
	inherit := "NULL::bool"
	if l.s.ServerVersion >= 160000 {
		inherit = "inherit_option"
	}
	var member uint32
	var of uint32
	var option *bool
	return l.each(ctx, `SELECT member, roleid, `+inherit+` FROM pg_auth_members`,
		[]any{&member, &of, &option}, func() {
			if m := l.s.roleByOID[member]; m != nil {
				g := membership{role: of, inherit: m.inherit}
				if option != nil {
					g.inherit = *option
				}
				m.memberOf = append(m.memberOf, g)
			}
		})
}

func (l *loader) settings(ctx context.Context) error {
	var set roleSetting
	var config string
	return l.each(ctx, `SELECT setdatabase <> 0, setrole, unnest(setconfig) FROM pg_db_role_setting
		WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))`,
		[]any{&set.inDatabase, &set.role, &config}, func() {
			name, value, _ := strings.Cut(config, "=")
			set.name, set.value = strings.ToLower(name), value
			l.s.settings = append(l.s.settings, set)
		})
}
