package router_test

import (
	"testing"

	"github.com/freshet/freshet/router"
)

// TestWhatMayBeCachedForATime: only what merely reads, and the same for everybody with the same key, may be cached because an application asks for it.
func TestWhatMayBeCachedForATime(t *testing.T) {
	planner, _ := testPlanner(t)
	for sql, want := range map[string]bool{
		// cacheable anyway, should the feed not cover it
		"SELECT * FROM accounts": true,
		// what the WAL can't watch
		"SELECT relname FROM pg_class":                                    true,
		"SELECT * FROM information_schema.tables":                         true,
		"SELECT count(*) FROM pg_stat_activity":                           true,
		"SELECT n_live_tup FROM pg_stat_user_tables":                      true,
		"SELECT * FROM pg_locks":                                          true,
		"SELECT pg_total_relation_size('accounts')":                       true,
		"SELECT pg_database_size(current_database())":                     true,
		"SELECT * FROM scratch":                                           true,
		"SELECT count(*) FROM accounts, scratch":                          true,
		"SELECT last_value FROM seq":                                      true,
		"SELECT looks_scratch()":                                          true,
		"SELECT version()":                                                true,
		"SELECT * FROM accounts TABLESAMPLE SYSTEM (10)":                  true,
		"SELECT ctid FROM accounts":                                       true,
		"SELECT id FROM accounts WHERE created > now()":                   true,
		"SELECT * FROM v_clock":                                           true,
		"SELECT current_date":                                             true,
		"SELECT pg_get_viewdef('v_clock'::regclass)":                      true,
		"SELECT * FROM accounts WHERE created < 'now'::text::timestamptz": true,
		// what writes, locks, makes anew or changes something
		"INSERT INTO accounts VALUES (1) RETURNING id":                  false,
		"WITH d AS (DELETE FROM accounts RETURNING id) SELECT * FROM d": false,
		"SELECT * FROM accounts FOR UPDATE":                             false,
		"SELECT * FROM accounts FOR KEY SHARE":                          false,
		"SELECT nextval('seq')":                                         false,
		"SELECT setval('seq', 1)":                                       false,
		"SELECT currval('seq')":                                         false,
		"SELECT lastval()":                                              false,
		"SELECT set_config('a.b', 'c', true)":                           false,
		"SELECT set_config('a.b', 'c', false)":                          false,
		"SELECT setseed(0.5)":                                           false,
		"SELECT random()":                                               false,
		"SELECT gen_random_uuid()":                                      false,
		"SELECT uuid_generate_v4()":                                     false,
		"SELECT clock_timestamp()":                                      false,
		"SELECT pg_sleep(0)":                                            false,
		"SELECT pg_advisory_lock(1)":                                    false,
		"SELECT pg_advisory_xact_lock(1)":                               false,
		"SELECT pg_try_advisory_xact_lock(1)":                           false,
		"SELECT pg_advisory_unlock(1)":                                  false,
		"SELECT pg_notify('a', 'b')":                                    false,
		"SELECT touches()":                                              false,
		"SELECT sneaky()":                                               false,
		"SELECT configures()":                                           false,
		"SELECT dynamic('SELECT 1')":                                    false,
		"SELECT proc()":                                                 false,
		"SELECT * FROM dblink('', 'SELECT 1') AS t(a int)":              false,
		"SELECT txid_current()":                                         false,
		"SELECT lo_get(1)":                                              false,
		"SELECT query_to_xml('SELECT 1', true, true, '')":               false,
		// what is another's answer for another session
		"SELECT pg_backend_pid()":                                      false,
		"SELECT inet_client_addr()":                                    false,
		"SELECT pg_my_temp_schema()":                                   false,
		"SELECT current_setting('application_name')":                   false,
		"SELECT pg_current_snapshot()":                                 false,
		"SELECT pg_is_in_recovery()":                                   false,
		"SELECT * FROM pg_cursors":                                     false,
		"SELECT * FROM pg_prepared_statements":                         false,
		"SELECT * FROM pg_stat_xact_user_tables":                       false,
		"SELECT relname, pg_backend_pid() FROM pg_class":               false,
		"SELECT relname FROM pg_class WHERE oid = pg_my_temp_schema()": false,
		"SELECT * FROM nowhere":                                        false,
		"SELECT 1; SELECT 2":                                           false,
		"EXPLAIN SELECT * FROM accounts":                               false,
		"SHOW work_mem":                                                false,
		"CREATE TABLE x AS SELECT * FROM accounts":                     false,
		"SELECT * INTO x FROM accounts":                                false,
		"DECLARE c CURSOR FOR SELECT * FROM accounts":                  false,
		"COPY accounts TO STDOUT":                                      false,
	} {
		p := planner.Plan(sql, router.Context{Role: "postgres", SearchPath: publicPath})
		if p.ForATime != want {
			t.Errorf("%s: %v, want %v (cacheable %v, because %q)", sql, p.ForATime, want, p.Cacheable, p.Reason)
		}
		if p.Cacheable && !p.ForATime {
			t.Errorf("%s: cacheable, but not for a time", sql)
		}
	}
}
