package feed

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"
)

// publication is what the feed's publication is at the moment, with what else is followed.
type publication struct {
	members   []member
	uncovered []Uncovered
}

// publicationSQL lists the relations in the publication, each with its identity (see member), and the reason why it isn't
// published completely, if there is one. Partitions are listed, as it is their OIDs that changes come with; and the
// partitioned tables, of which there is nothing to see in the stream, if all their partitions are published. Materialized
// views aren't in any publication; they are listed while there is the event trigger that tells of REFRESH. (A REFRESH that began
// before the trigger was there, and waits for a lock, goes unseen by it; it would have to outlast freshet setup.)
//
// It takes no lock on a table, as pg_partition_tree() would: it would wait for the application's DDL, and others behind it for us.
//
// %FILTERS%, %COLUMNS% and %SCHEMAS% are what version 15 has added.
const publicationSQL = `
WITH RECURSIVE p AS (SELECT *, xmin FROM pg_publication WHERE pubname = $1),
events AS (
	SELECT string_agg(concat_ws('.', e.oid, e.xmin, f.oid, f.xmin), ',' ORDER BY e.oid) AS identity
	FROM pg_event_trigger e JOIN pg_proc f ON f.oid = e.evtfoid
	WHERE e.evtevent = 'ddl_command_end' AND e.evtenabled = 'A' AND e.evttags IS NULL AND f.prosrc = $2
	HAVING count(*) > 0),
tree AS (
	SELECT oid AS root, oid AS relid FROM pg_class WHERE relkind = 'p' AND relpersistence = 'p'
	UNION ALL
	SELECT t.root, i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.relid),
listed AS (
	SELECT DISTINCT ON (c.oid) c.oid, n.nspname, c.relname,
		concat_ws(' ', p.oid, p.xmin, c.relnamespace, c.relpersistence,
			(SELECT string_agg(concat(r.oid, '.', r.xmin), ',' ORDER BY r.oid) FROM pg_publication_rel r
				WHERE r.prpubid = p.oid AND r.prrelid = ANY (chain.oids)),
			%SCHEMAS%
			(SELECT string_agg(concat(i.inhparent, '.', i.xmin), ',' ORDER BY i.inhparent) FROM pg_inherits i
				WHERE i.inhrelid = c.oid AND c.relispartition)) AS identity,
		CASE
			WHEN c.relpersistence <> 'p' THEN 'it is not a permanent table'
			WHEN NOT (p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate)
				THEN 'the publication doesn''t publish all of insert, update, delete and truncate'
			WHEN p.pubviaroot AND (c.relispartition OR c.relkind = 'p') THEN 'the publication has publish_via_partition_root'
			%FILTERS%
			ELSE ''
		END AS reason
	FROM p
	CROSS JOIN LATERAL pg_get_publication_tables(p.pubname) t
	JOIN pg_class c ON c.oid = t.relid
	JOIN pg_namespace n ON n.oid = c.relnamespace
	CROSS JOIN LATERAL (SELECT CASE WHEN c.relispartition
		THEN ARRAY(SELECT a.relid::oid FROM pg_partition_ancestors(c.oid) a) ELSE ARRAY[c.oid] END AS oids) chain
)
SELECT oid, nspname::text, relname::text, identity, reason FROM listed
UNION ALL
SELECT c.oid, n.nspname::text, c.relname::text,
	(SELECT concat('tree ', md5(string_agg(concat(t.relid, '.', i.xmin), ',' ORDER BY t.relid)))
		FROM tree t LEFT JOIN pg_inherits i ON i.inhrelid = t.relid WHERE t.root = c.oid), ''
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'p' AND c.relpersistence = 'p' AND EXISTS (SELECT FROM p)
	AND NOT EXISTS (SELECT FROM tree t JOIN pg_class l ON l.oid = t.relid
		WHERE t.root = c.oid AND l.relkind <> 'p' AND l.oid NOT IN (SELECT oid FROM listed WHERE reason = ''))
	AND c.oid NOT IN (SELECT oid FROM listed)
UNION ALL
SELECT c.oid, n.nspname::text, c.relname::text, concat_ws(' ', 'refresh', c.relnamespace, c.relpersistence, e.identity), ''
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN events e
WHERE c.relkind = 'm' AND c.relpersistence = 'p' AND EXISTS (SELECT FROM p)`

func publicationSQLFor(version int) string {
	var filters, schemas string
	if version >= 150000 {
		filters = `
			WHEN EXISTS (SELECT FROM pg_publication_rel r WHERE r.prpubid = p.oid AND r.prrelid = ANY (chain.oids) AND r.prqual IS NOT NULL)
				THEN 'the publication has a row filter for it'
			WHEN EXISTS (SELECT FROM pg_publication_rel r WHERE r.prpubid = p.oid AND r.prrelid = ANY (chain.oids) AND r.prattrs IS NOT NULL)
				THEN 'the publication has a column list for it'`
		schemas = `(SELECT string_agg(concat(s.oid, '.', s.xmin), ',' ORDER BY s.oid) FROM pg_publication_namespace s
				JOIN pg_class a ON a.relnamespace = s.pnnspid WHERE s.pnpubid = p.oid AND a.oid = ANY (chain.oids)),`
	}
	return strings.NewReplacer("%FILTERS%", filters, "%SCHEMAS%", schemas).Replace(publicationSQL)
}

// digestSQL gives a text that changes with whatever publicationSQL and Plan depend on: of each row its OID and its xmin, which
// changes with the row. (Not by hashint8extended: that XORs the halves of a number, and OID and xmin often grow together.) It costs a tenth of what publicationSQL does, which counts where there are thousands of tables.
func digestSQL(version int) string {
	part := func(rows, oid string) string {
		return `, (SELECT concat(count(*), '.', bit_xor(hashtextextended(concat(` + oid + `, '.', xmin), 0))) FROM ` + rows + `)`
	}
	sql := `SELECT concat_ws(' '` +
		part("pg_publication", "oid") +
		part("pg_publication_rel", "oid") +
		part("pg_inherits", "inhrelid") +
		part("pg_class WHERE relkind IN ('r', 'p', 'm')", "oid") +
		part("pg_event_trigger", "oid") +
		part("pg_proc WHERE proname = 'catalog_changed'", "oid") +
		part("pg_index WHERE indisprimary OR indisreplident", "indexrelid")
	if version >= 150000 {
		sql += part("pg_publication_namespace", "oid")
	}
	return sql + `)`
}

// readDigest asks for digestSQL.
func (f *Feed) readDigest(ctx context.Context, l *link) (digest string, err error) {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.ConnectTimeout)
	defer cancel()
	err = l.sql.QueryRow(ctx, digestSQL(l.version)).Scan(&digest)
	return digest, err
}

// readPublication reads what is published.
func (f *Feed) readPublication(ctx context.Context, l *link) (publication, error) {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.ConnectTimeout)
	defer cancel()
	return readPublication(ctx, l.sql, l.version, f.cfg.Publication)
}

func readPublication(ctx context.Context, conn *pgx.Conn, version int, name string) (publication, error) {
	var p publication
	rows, err := conn.Query(ctx, publicationSQLFor(version), name, onDDL.bodyFor(name))
	if err != nil {
		return p, err
	}
	defer rows.Close()
	for rows.Next() {
		var oid uint32
		var schema, relation, identity, reason string
		if err := rows.Scan(&oid, &schema, &relation, &identity, &reason); err != nil {
			return p, err
		}
		if reason == "" {
			p.members = append(p.members, member{oid, identity})
		} else {
			p.uncovered = append(p.uncovered, Uncovered{oid, pgx.Identifier{schema, relation}.Sanitize(), reason})
		}
	}
	return p, rows.Err()
}

// Published says which relations a feed with this publication would cover, on an ordinary connection to the primary, and which
// of the publication it wouldn't. Without the publication there are none of either.
func Published(ctx context.Context, conn *pgx.Conn, name string) (oids []uint32, not []Uncovered, err error) {
	err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL search_path = pg_catalog, pg_temp"); err != nil {
			return err
		}
		var version int
		if err := tx.QueryRow(ctx, `SELECT current_setting('server_version_num')::int`).Scan(&version); err != nil {
			return err
		}
		p, err := readPublication(ctx, conn, version, name)
		for _, m := range p.members {
			oids = append(oids, m.oid)
		}
		not = p.uncovered
		return err
	})
	return oids, not, err
}
