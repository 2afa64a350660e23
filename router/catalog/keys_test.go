package catalog_test

import (
	"slices"
	"testing"
)

func TestKeys(t *testing.T) {
	conn := connect(t, pg.Get(t).NewDatabase(t))
	exec(t, conn, `
		CREATE COLLATION loose (provider = icu, locale = 'und', deterministic = false);
		CREATE TABLE a (c int, b int, extra int, v text, PRIMARY KEY (c, b) INCLUDE (extra));
		CREATE TABLE f (id int PRIMARY KEY, v text); ALTER TABLE f REPLICA IDENTITY FULL;
		CREATE TABLE i (id int PRIMARY KEY, u int NOT NULL UNIQUE); ALTER TABLE i REPLICA IDENTITY USING INDEX i_u_key;
		CREATE TABLE late (id int PRIMARY KEY DEFERRABLE);
		CREATE TABLE u (id int PRIMARY KEY, g int GENERATED ALWAYS AS (id + 1) STORED, l text COLLATE loose, n text);
		CREATE TABLE none (id int);
		INSERT INTO u SELECT generate_series(1, 500); ANALYZE u`)
	s := load(t, conn)
	for _, c := range []struct {
		table                      string
		primary, identity, unkeyed []string
		rows                       int64
	}{
		{"a", []string{"b", "c"}, []string{"b", "c"}, nil, -1},
		{"f", []string{"id"}, nil, nil, -1},
		{"i", []string{"id"}, []string{"u"}, nil, -1},
		{"late", nil, nil, nil, -1},
		{"u", []string{"id"}, []string{"id"}, []string{"g", "l"}, 500},
		{"none", nil, nil, nil, -1},
	} {
		r := s.RelationByName("public", c.table)
		slices.Sort(r.Unkeyed)
		if !slices.Equal(r.PrimaryKey, c.primary) || !slices.Equal(r.Identity, c.identity) || !slices.Equal(r.Unkeyed, c.unkeyed) || r.Rows != c.rows {
			t.Errorf("%s: primary key %v, identity %v, unkeyed %v, %d rows", c.table, r.PrimaryKey, r.Identity, r.Unkeyed, r.Rows)
		}
	}
}
