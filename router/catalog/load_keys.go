package catalog

import "context"

// keys reads what there is to know about picking rows by the values of columns. It is for choosing well, not for being right: what is
// true of a change, the change itself says.
func (l *loader) keys(ctx context.Context) error {
	var oid uint32
	var primary, identity bool
	var names []string
	err := l.each(ctx, `SELECT i.indrelid, i.indisprimary, i.indisreplident, array_agg(a.attname::text ORDER BY a.attname)
		FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
		WHERE i.indrelid >= 16384 AND (i.indisprimary OR i.indisreplident) AND i.indisvalid AND i.indimmediate
		GROUP BY i.indexrelid, i.indrelid, i.indisprimary, i.indisreplident`,
		[]any{&oid, &primary, &identity, &names}, func() {
			r := l.s.relations[oid]
			if r == nil {
				return
			}
			if primary {
				r.PrimaryKey = names
			}
			if identity && r.ReplicaIdentity == 'i' || primary && r.ReplicaIdentity == 'd' {
				r.Identity = names
			}
			names = nil
		})
	if err != nil {
		return err
	}
	if err := l.perRelation(ctx, `SELECT a.attrelid, a.attname::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
			LEFT JOIN pg_collation o ON o.oid = a.attcollation
		WHERE a.attrelid >= 16384 AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p')
			AND (a.attgenerated <> '' OR NOT o.collisdeterministic)`,
		func(r *Relation, name string) { r.Unkeyed = append(r.Unkeyed, name) }); err != nil {
		return err
	}
	// reltuples is -1 as long as nobody has counted. Of a partitioned table it is the sum, once it was analysed.
	var rows float32
	return l.each(ctx, `SELECT oid, reltuples FROM pg_class WHERE oid >= 16384 AND relkind IN ('r', 'p')`, []any{&oid, &rows}, func() {
		if r := l.s.relations[oid]; r != nil {
			r.Rows = int64(rows)
		}
	})
}
