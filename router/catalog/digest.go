package catalog

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// The digest is one row of text that differs when anything in the catalogs differs that a plan, a permission or the
// bytes of an answer can depend on. It costs a few milliseconds, since it reads whole catalogs, but sorts and
// transfers nothing.
//
// For each catalog it is a count and the sum of a hash of every row. As a rule what is hashed is (oid, xmin): every
// change of a row makes a version with another xmin, and a row that comes or goes changes the sum. Freezing leaves
// xmin as it is, and what Postgres changes in place (heap_inplace_update: relpages, reltuples, relfrozenxid,
// datfrozenxid) doesn't change it either, which is what we want: ANALYZE and VACUUM change nothing for us. A
// transaction that hasn't ended shows only when it has.
//
// pg_class is hashed by the columns that matter, since TRUNCATE, CLUSTER, REINDEX and REFRESH MATERIALIZED VIEW write
// a new relfilenode, which would throw away every plan and every cached answer of the database. pg_roles is a view
// that has no xmin; pg_authid may be read by superusers only. Temporary objects are left out: sessions make and drop
// them all the time.
var digestParts = []struct {
	name string
	from string // … FROM from; rows are hashed by hash
	hash string
}{
	{"class", `pg_class t WHERE t.oid >= 16384 AND t.relpersistence <> 't' AND t.relkind <> 't'`,
		`hashtextextended(concat_ws(',', t.relname, t.relnamespace, t.reltype, t.relowner, t.relkind, t.relpersistence, t.relrowsecurity,
			t.relforcerowsecurity, t.relispartition, t.relreplident, t.relnatts, t.relam, t.relacl, t.reloptions, t.relpartbound), t.oid::int8)`},
	{"attribute", `pg_attribute t JOIN pg_class c ON c.oid = t.attrelid WHERE t.attrelid >= 16384 AND t.attnum > 0
			AND c.relpersistence <> 't' AND c.relkind NOT IN ('i', 'I', 't')`,
		`hashtextextended(t.xmin::text, t.attrelid::int8 * 65536 + t.attnum)`},
	{"attrdef", `pg_attrdef t JOIN pg_class c ON c.oid = t.adrelid WHERE t.oid >= 16384 AND c.relpersistence <> 't'`, byOID},
	{"inherits", `pg_inherits t JOIN pg_class c ON c.oid = t.inhrelid WHERE c.relpersistence <> 't'`,
		`hashtextextended(t.xmin::text, t.inhrelid::int8 << 32 | t.inhparent::int8)`},
	{"rewrite", `pg_rewrite t JOIN pg_class c ON c.oid = t.ev_class WHERE t.oid >= 16384 AND c.relpersistence <> 't'`, byOID},
	{"trigger", `pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal AND c.relpersistence <> 't'`, byOID},
	{"event_trigger", `pg_event_trigger t`, byOID},
	{"policy", `pg_policy t`, byOID},
	{"constraint", `pg_constraint t JOIN pg_namespace n ON n.oid = t.connamespace WHERE t.oid >= 16384 AND ` + notTemp, byOID},
	{"namespace", `pg_namespace n WHERE ` + notTemp, `hashtextextended(n.xmin::text, n.oid::int8)`},
	{"type", `pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE ` + notTemp, byOID},
	{"enum", `pg_enum t JOIN pg_type y ON y.oid = t.enumtypid JOIN pg_namespace n ON n.oid = y.typnamespace WHERE ` + notTemp, byOID},
	{"proc", `pg_proc t JOIN pg_namespace n ON n.oid = t.pronamespace WHERE ` + notTemp, byOID},
	{"aggregate", `pg_aggregate t WHERE t.aggfnoid::oid >= 16384`, `hashtextextended(t.xmin::text, t.aggfnoid::oid::int8)`},
	{"operator", `pg_operator t`, byOID},
	{"opclass", `pg_opclass t`, byOID},
	{"amop", `pg_amop t WHERE t.oid >= 16384`, byOID},
	{"amproc", `pg_amproc t WHERE t.oid >= 16384`, byOID},
	{"cast", `pg_cast t`, byOID},
	{"collation", `pg_collation t WHERE t.oid >= 16384`, byOID},
	{"conversion", `pg_conversion t`, byOID},
	{"language", `pg_language t`, byOID},
	{"extension", `pg_extension t`, byOID},
	{"member", `pg_depend t WHERE t.deptype = 'e'`,
		`hashtextextended(concat_ws(',', t.classid, t.objid, t.refobjid), 0)`},
	{"ts_config", `pg_ts_config t`, byOID},
	{"ts_config_map", `pg_ts_config_map t`,
		`hashtextextended(concat_ws(',', t.xmin, t.maptokentype, t.mapseqno), t.mapcfg::int8)`},
	{"ts_dict", `pg_ts_dict t`, byOID},
	{"role", `pg_roles t`,
		`hashtextextended(concat_ws(',', t.rolname, t.rolsuper, t.rolinherit, t.rolbypassrls, t.rolcanlogin), t.oid::int8)`},
	{"member_of", `pg_auth_members t`, `hashtextextended(t.xmin::text, t.roleid::int8 << 32 | t.member::int8)`},
	{"setting", `pg_db_role_setting t`, `hashtextextended(t.xmin::text, t.setdatabase::int8 << 32 | t.setrole::int8)`},
	{"database", `pg_database t WHERE t.datname = current_database()`,
		`hashtextextended(concat_ws(',', t.datname, t.datdba, t.encoding, t.datacl), t.oid::int8)`},
}

const (
	byOID   = `hashtextextended(t.xmin::text, t.oid::int8)`
	notTemp = `n.nspname !~ '^pg_(toast_)?temp_'`
)

// digestSQL returns the query for the digest: one row, with the digest and what pg_current_snapshot() said.
func digestSQL(version int) string {
	var b strings.Builder
	// The time at which the configuration was last loaded stands for every setting in files and on the command line.
	b.WriteString("SELECT concat_ws(' ', pg_is_in_recovery(), pg_conf_load_time(), pg_postmaster_start_time()")
	for _, p := range digestParts {
		hash := p.hash
		if p.name == "member_of" && version >= 160000 {
			// One membership can be granted by several grantors, each with options of its own.
			hash = byOID
		}
		fmt.Fprintf(&b, ",\n '%s', (SELECT concat(count(*), ':', sum(%s)) FROM %s)", p.name, hash, p.from)
	}
	b.WriteString("), pg_current_snapshot()::text")
	return b.String()
}

// Digest reads the digest of the database that conn is connected to, and says which transactions it has seen
// (pg_current_snapshot()). version is server_version_num.
func Digest(ctx context.Context, conn *pgx.Conn, version int) (digest, visible string, err error) {
	if err := conn.QueryRow(ctx, digestSQL(version)).Scan(&digest, &visible); err != nil {
		return "", "", fmt.Errorf("catalog: reading the digest: %w", err)
	}
	return digest, visible, nil
}

// Changed names the parts in which two digests differ, for logs.
func Changed(before, after string) []string {
	old, now := strings.Fields(before), strings.Fields(after)
	if len(old) != len(now) {
		return []string{"everything"}
	}
	var parts []string
	for i := range old {
		if old[i] == now[i] {
			continue
		}
		name := "configuration"
		if i > 0 && !strings.ContainsAny(now[i-1], "0123456789") {
			name = now[i-1]
		}
		if len(parts) == 0 || parts[len(parts)-1] != name {
			parts = append(parts, name)
		}
	}
	return parts
}
