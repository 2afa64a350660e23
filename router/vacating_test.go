package router_test

import (
	"reflect"
	"testing"

	"github.com/freshet/freshet/router"
)

func TestStatementsThatNeedADatabaseForThemselves(t *testing.T) {
	p := noCatalog()
	for sql, want := range map[string]*router.Vacating{
		`DROP DATABASE a`:                                    {Database: "a", Ends: true},
		`drop database if exists "A b"`:                      {Database: "A b", Ends: true},
		`DROP DATABASE a WITH (FORCE)`:                       {Database: "a", Ends: true, Force: true},
		`ALTER DATABASE a RENAME TO b`:                       {Database: "a", Ends: true, Makes: "b"},
		`ALTER DATABASE a SET TABLESPACE x`:                  {Database: "a"},
		`ALTER DATABASE a WITH CONNECTION LIMIT 3`:           nil,
		`ALTER DATABASE a SET work_mem = '1MB'`:              nil,
		`ALTER TABLE a RENAME TO b`:                          nil,
		`CREATE DATABASE b`:                                  {Database: "template1", Makes: "b"},
		`CREATE DATABASE b TEMPLATE a`:                       {Database: "a", Makes: "b"},
		`CREATE DATABASE b WITH OWNER x TEMPLATE = 'A'`:      {Database: "A", Makes: "b"},
		`CREATE DATABASE b TEMPLATE DEFAULT ENCODING 'UTF8'`: {Database: "template1", Makes: "b"},
		`CREATE SCHEMA a`:                                    nil,
	} {
		if got := p.Plan(sql, router.Context{}).Vacates; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, not %+v", sql, got, want)
		}
	}
	multi := p.Plan(`SELECT 1; ALTER DATABASE a RENAME TO b`, router.Context{})
	if got := multi.Parts[1].Vacates; got == nil || got.Database != "a" {
		t.Errorf("in a string: %+v", got)
	}
}

func TestStringsOfReads(t *testing.T) {
	p, _ := testPlanner(t)
	for sql, want := range map[string]bool{
		`SELECT 1`:                       true,
		`SELECT 1; SELECT 2`:             true,
		`SELECT 1;; VALUES (2);`:         true,
		`SELECT 1; SET work_mem = '1MB'`: false,
		`SELECT 1; SHOW work_mem`:        false,
		`SELECT 1; BEGIN`:                false,
		`SELECT 1; SELECT nextval('s')`:  false,
		`SELECT 1; SELECT set_config('work_mem', '1MB', true)`: false,
		`SELECT 1; SELECT pg_advisory_lock(1)`:                 false,
		`SELECT 1; EXPLAIN SELECT 1`:                           false,
		`SELECT 1; CREATE TABLE x (a int)`:                     false,
	} {
		if got := p.Plan(sql, router.Context{SearchPath: publicPath}).Reads(); got != want {
			t.Errorf("%s: %t", sql, got)
		}
	}
}
