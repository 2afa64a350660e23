package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// consoleOfProcess connects to the console of a process that listens on addr.
func consoleOfProcess(t *testing.T, addr string) *pgx.Conn {
	t.Helper()
	return connectTo(t, "postgres://postgres:"+shared.Get(t).Password()+"@"+addr+"/freshet?sslmode=disable&default_query_exec_mode=simple_protocol")
}

// TestConsoleShutdownEndsTheProgram: as SIGTERM does. A transaction may finish, new clients aren't let in, the exit status is 0.
func TestConsoleShutdownEndsTheProgram(t *testing.T) {
	p, conn := serveInTransaction(t)
	addr := conn.Config().ConnString()
	addr = addr[strings.Index(addr, "@")+1:]
	addr = addr[:strings.Index(addr, "/")]
	console := consoleOfProcess(t, addr)
	do(t, console, "SHUTDOWN")
	p.find(&p.stderr, "freshet stops", 20*time.Second)
	do(t, console, "SHOW CLIENTS") // it is there to the end
	eventually(t, "nobody is let in", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		late, err := pgx.Connect(ctx, conn.Config().ConnString())
		if err == nil {
			late.Close(ctx)
		}
		return err != nil
	})
	if _, err := conn.Exec(context.Background(), "COMMIT; DROP TABLE never"); err != nil {
		t.Errorf("the transaction that was under way: %v", err)
	}
	p.wait(exitOK, 20*time.Second)
	if out := p.stderr.String(); !strings.Contains(out, "has stopped") || strings.Contains(out, "cut off") {
		t.Error("it didn't end in order")
	}
}

// TestConsoleReloadReadsTheFile: what can change does, at once; what can't is said in the log; and with a file that can't be read nothing
// changes, and the client is told why.
func TestConsoleReloadReadsTheFile(t *testing.T) {
	c := shared.Get(t)
	text := func(more string) string {
		return fmt.Sprintf("primary: %s\nlisten: 127.0.0.1:0\nhttp: \"\"\npool-size: 5\n%s", c.Primary().URL("app"), more)
	}
	config := writeFile(t, text("query-timeout: 10s\n"))
	p := startFreshet(t, nil, "serve", "--config", config)
	console := consoleOfProcess(t, p.find(&p.stderr, `accepts clients" addresses=\[(\S+)\]`, 20*time.Second))
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	configured := func(want map[string]string) {
		t.Helper()
		for _, row := range rowsOf(t, console, "SHOW CONFIG") {
			if w, ok := want[row["key"].(string)]; ok && w != row["value"] {
				t.Errorf("%s is %v, not %s", row["key"], row["value"], w)
			}
		}
	}
	configured(map[string]string{"query-timeout": "10s", "pool-size": "5"})
	write(text("query-timeout: 20s\nstats-users: watcher\n"))
	do(t, console, "RELOAD")
	configured(map[string]string{"query-timeout": "20s", "stats-users": "[watcher]"})

	write(text("query-timeout: 30s\nno-such-flag: 1\n"))
	if _, err := console.Exec(context.Background(), "RELOAD"); err == nil || !strings.Contains(err.Error(), "no-such-flag") {
		t.Errorf("RELOAD of a file that can't be read: %v", err)
	}
	configured(map[string]string{"query-timeout": "20s"})

	write(strings.Replace(text("query-timeout: 40s\n"), "pool-size: 5", "pool-size: 6", 1))
	do(t, console, "RELOAD")
	p.find(&p.stderr, `until a restart.*pool-size`, 20*time.Second)
	configured(map[string]string{"query-timeout": "40s", "pool-size": "5"})
	if leaks(p.stderr.String()) || strings.Contains(p.stderr.String(), c.Password()) {
		t.Error("the password is in the log")
	}
}
