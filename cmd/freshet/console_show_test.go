package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/proxy/admin"
)

// pgbouncerColumns are the columns of PgBouncer 1.18, as it says them.
var pgbouncerColumns = map[string]string{
	"POOLS":          "database|user|cl_active|cl_waiting|cl_active_cancel_req|cl_waiting_cancel_req|sv_active|sv_active_cancel|sv_being_canceled|sv_idle|sv_used|sv_tested|sv_login|maxwait|maxwait_us|pool_mode",
	"CLIENTS":        "type|user|database|state|addr|port|local_addr|local_port|connect_time|request_time|wait|wait_us|close_needed|ptr|link|remote_pid|tls|application_name",
	"SERVERS":        "type|user|database|state|addr|port|local_addr|local_port|connect_time|request_time|wait|wait_us|close_needed|ptr|link|remote_pid|tls|application_name",
	"STATS":          "database|total_xact_count|total_query_count|total_received|total_sent|total_xact_time|total_query_time|total_wait_time|avg_xact_count|avg_query_count|avg_recv|avg_sent|avg_xact_time|avg_query_time|avg_wait_time",
	"STATS_TOTALS":   "database|xact_count|query_count|bytes_received|bytes_sent|xact_time|query_time|wait_time",
	"STATS_AVERAGES": "database|xact_count|query_count|bytes_received|bytes_sent|xact_time|query_time|wait_time",
	"TOTALS":         "name|value",
	"DATABASES":      "name|host|port|database|force_user|pool_size|min_pool_size|reserve_pool|pool_mode|max_connections|current_connections|paused|disabled",
	"USERS":          "name|pool_mode",
	"LISTS":          "list|items",
	"VERSION":        "version",
	"CONFIG":         "key|value|default|changeable",
}

// TestConsoleShowsAsPgBouncer: where PgBouncer has the same SHOW, its columns come first; every SHOW works in both protocols; and what is shown
// is so.
func TestConsoleShowsAsPgBouncer(t *testing.T) {
	c := shared.Get(t)
	in := startTestServer(t, c, func(cfg *ServeConfig) { cfg.Shards, cfg.PoolSize, cfg.QueryTimeout = 2, 7, 0 })
	db := c.NewDatabase(t)
	ctx := context.Background()
	console, binary := in.consoleOf(t, c), in.connect(t, c, admin.ConsoleDatabase, "")
	busy := in.connect(t, c, db, "&application_name=busy&default_query_exec_mode=simple_protocol")
	idle := in.connect(t, c, db, "&application_name=idle")
	one(t, idle, "SELECT 1")
	do(t, busy, "BEGIN; CREATE TABLE x (a int)")
	pid := func(conn *pgx.Conn) int64 { return int64(conn.PgConn().PID()) }

	for _, row := range rowsOf(t, console, "SHOW HELP") {
		command := row["command"].(string)
		if !strings.HasPrefix(command, "SHOW") {
			continue
		}
		rows, err := console.Query(ctx, command)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, f := range rows.FieldDescriptions() {
			names = append(names, f.Name)
		}
		rows.Close()
		if err := rows.Err(); err != nil {
			t.Errorf("%s: %v", command, err)
		}
		if want := pgbouncerColumns[strings.TrimPrefix(command, "SHOW ")]; !strings.HasPrefix(strings.Join(names, "|")+"|", want) {
			t.Errorf("%s has %s", command, strings.Join(names, "|"))
		}
		simple, extended := rowsOf(t, console, command), rowsOf(t, binary, command)
		if len(simple) == 0 || len(extended) == 0 {
			t.Errorf("%s shows nothing", command)
		} else if slices.Contains(names, "key") || command == "SHOW HELP" {
			if fmt.Sprint(simple) != fmt.Sprint(extended) {
				t.Errorf("%s: %v, and in the extended protocol %v", command, simple, extended)
			}
		}
	}
	find := func(sql string, want map[string]any) map[string]any {
		t.Helper()
		rows := rowsOf(t, console, sql)
		for _, row := range rows {
			same := true
			for k, v := range want {
				same = same && fmt.Sprint(row[k]) == fmt.Sprint(v)
			}
			if same {
				return row
			}
		}
		t.Errorf("%s has no row with %v: %v", sql, want, rows)
		return nil
	}
	b := find("SHOW CLIENTS", map[string]any{"pid": pid(busy), "state": "active", "database": db, "user": "postgres", "application_name": "busy", "transaction": "active", "node": c.Primary().Addr()})
	find("SHOW CLIENTS", map[string]any{"pid": pid(idle), "state": "idle", "transaction": "idle", "prepared_statements": 1})
	find("SHOW CLIENTS", map[string]any{"pid": pid(console), "database": "freshet", "state": "active"})
	find("SHOW SERVERS", map[string]any{"database": db, "state": "active", "client_pid": pid(busy), "remote_pid": b["server_pid"], "link": b["ptr"], "ptr": b["link"], "application_name": "busy"})
	find("SHOW POOLS", map[string]any{"database": db, "user": "postgres", "cl_active": 2, "cl_waiting": 0, "sv_active": 1, "pool_mode": "transaction"})
	find("SHOW DATABASES", map[string]any{"name": db, "host": c.Primary().Host(), "port": c.Primary().Port(), "pool_size": 7, "paused": 0})
	find("SHOW NODES", map[string]any{"node": c.Primary().Addr(), "role": "primary", "primary": true, "up": true, "used": true})
	find("SHOW NODES", map[string]any{"node": c.Replicas()[0].Addr(), "role": "replica", "drained": false})
	find("SHOW USERS", map[string]any{"name": "postgres"})
	find("SHOW CONFIG", map[string]any{"key": "pool-size", "value": 7, "default": 20, "changeable": "no"})
	find("SHOW CONFIG", map[string]any{"key": "query-timeout", "changeable": "yes"})
	find("SHOW LIMITS", map[string]any{"name": "pool-size", "value": 7})
	find("SHOW LISTS", map[string]any{"list": "nodes", "items": 3})
	if text := fmt.Sprint(rowsOf(t, console, "SHOW CONFIG")); strings.Contains(text, c.Password()) {
		t.Error("SHOW CONFIG shows a password")
	}
	do(t, busy, "ROLLBACK")
	before := find("SHOW STATS_TOTALS", map[string]any{"database": db})
	for range 3 {
		one(t, busy, "SELECT 1")
	}
	after := find("SHOW STATS_TOTALS", map[string]any{"database": db})
	for _, column := range []string{"xact_count", "query_count"} {
		if d := after[column].(int64) - before[column].(int64); d != 3 {
			t.Errorf("%s: %d more", column, d)
		}
	}
	if after["bytes_received"].(int64) <= before["bytes_received"].(int64) || after["bytes_sent"].(int64) <= before["bytes_sent"].(int64) {
		t.Errorf("bytes: %v, %v", before, after)
	}
}

// TestConsoleCommands: KILL, DRAIN and ENABLE, RELOAD, SHUTDOWN.
func TestConsoleCommands(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 1})
	in := startTestServer(t, c, func(cfg *ServeConfig) { cfg.Cache = "off" })
	ctx := context.Background()
	console := in.consoleOf(t, c)
	refuse := func(command, state string) {
		t.Helper()
		if _, err := console.Exec(ctx, command); sqlstate(err) != state {
			t.Errorf("%s: %v, not %s", command, err, state)
		}
	}
	t.Run("KILL", func(t *testing.T) {
		victim, other := in.connect(t, c, cluster.App, ""), in.connect(t, c, cluster.App, "")
		do(t, victim, "BEGIN")
		do(t, victim, "CREATE TABLE killed (a int)")
		do(t, console, fmt.Sprintf("KILL %d", victim.PgConn().PID()))
		eventually(t, "its client is told", func() bool { _, err := victim.Exec(ctx, "SELECT 1"); return err != nil })
		if got := one(t, other, "SELECT count(*) FROM pg_class WHERE relname = 'killed'"); got != "0" {
			t.Error("its transaction wasn't rolled back")
		}
		watcher := in.consoleOf(t, c)
		do(t, console, fmt.Sprintf("KILL %d", watcher.PgConn().PID()))
		if _, err := watcher.Exec(ctx, "SHOW VERSION"); sqlstate(err) != "57P01" {
			t.Error(err)
		}
		refuse("KILL 999999", "42704")
		refuse("KILL app", "22023")
		refuse("KILL", "42601")
	})
	t.Run("DRAIN", func(t *testing.T) {
		replica, primary := c.Replicas()[0].Addr(), c.Primary().Addr()
		reader := in.connect(t, c, cluster.App, "")
		reads := func(from string) {
			t.Helper()
			eventually(t, "reads come from "+from, func() bool {
				one(t, reader, "SELECT 1")
				return source(t, reader) == from
			})
		}
		reads("replica " + replica)
		do(t, console, "DRAIN "+replica)
		for range 20 {
			if one(t, reader, "SELECT 1"); source(t, reader) != "primary "+primary {
				t.Errorf("a drained replica answers: %s", source(t, reader))
			}
		}
		eventually(t, "its connections are closed", func() bool {
			for _, row := range rowsOf(t, console, "SHOW NODES") {
				if row["node"] == replica {
					return row["drained"] == true && row["connections"] == int64(0) && row["reason"] == "drained"
				}
			}
			return false
		})
		do(t, console, "enable '"+replica+"'")
		reads("replica " + replica)
		refuse("ENABLE "+replica, "55000")
		refuse("DRAIN "+primary, "55000")
		refuse("DRAIN nowhere:1", "42704")
		refuse("DRAIN", "42601")
	})
	t.Run("RELOAD", func(t *testing.T) {
		reloads := 0
		var fail error
		in.OnReload(func() error { reloads++; return fail })
		do(t, console, "RELOAD")
		if fail = fmt.Errorf("password=secret is wrong"); reloads != 1 {
			t.Errorf("%d reloads", reloads)
		}
		_, err := console.Exec(ctx, "reload")
		if sqlstate(err) != "XX000" || reloads != 2 || strings.Contains(err.Error(), "secret") {
			t.Error(err, reloads)
		}
		refuse("RELOAD x", "42601")
	})
	t.Run("SHUTDOWN", func(t *testing.T) {
		refuse("SHUTDOWN now", "42601")
		do(t, console, "SHUTDOWN")
		select {
		case <-in.Stopped():
		default:
			t.Error("nobody was told")
		}
	})
}
