package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/proxy/wire"
)

// A script is run twice, statement by statement: by clients that are connected to Postgres, and by clients that are
// connected through Freshet and share so few server connections that every leak shows. What they see has to be the same.
//
// Each line of a script is a client's name, what it sends, and a text:
//
//	a SELECT 1        a Query
//	a: x              extended: messages separated by |: parse NAME [OID,…] TEXT, bind NAME [args…], describe NAME, execute [ROWS], close NAME, query …, skipped … (a query), data TEXT, done
//
// "" is the unnamed statement. NAME@PORTAL binds another portal than the unnamed one; portal PORTAL describes, execute@PORTAL executes and close @PORTAL closes one.
//
// A script in testdata/state begins with lines "-- pool: 1", "-- startup a: key=value", "-- since: 17" (the first version of Postgres that
// it is for) and the like.
type script struct {
	name    string
	since   int
	pool    int
	startup map[string][]wire.Param
	lines   []string
}

func readScripts(t *testing.T, dir string) []script {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts in %s: %v", dir, err)
	}
	var out []script
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		s := script{name: strings.TrimSuffix(filepath.Base(file), ".txt"), pool: 1, startup: map[string][]wire.Param{}}
		for _, line := range strings.Split(string(text), "\n") {
			if rest, ok := strings.CutPrefix(line, "-- pool: "); ok {
				fmt.Sscan(rest, &s.pool)
			} else if rest, ok := strings.CutPrefix(line, "-- since: "); ok {
				fmt.Sscan(rest, &s.since)
			} else if rest, ok := strings.CutPrefix(line, "-- startup "); ok {
				client, pair, _ := strings.Cut(rest, ": ")
				key, value, _ := strings.Cut(pair, "=")
				s.startup[client] = append(s.startup[client], wire.Param{Name: key, Value: value})
			} else if line != "" && !strings.HasPrefix(line, "--") {
				s.lines = append(s.lines, line)
			}
		}
		out = append(out, s)
	}
	return out
}

func TestHazard05Hazard06Hazard07ScriptsGiveWhatPostgresGives(t *testing.T) {
	c := shared.Get(t)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	for _, role := range []string{"state_alice", "state_bob"} {
		if err := c.Primary().ExecIn(ctx, "postgres", "CREATE ROLE "+role+" LOGIN PASSWORD '"+c.Password()+"'"); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := c.Primary().ExecIn(context.Background(), "postgres", "DROP ROLE state_alice, state_bob"); err != nil {
			t.Error(err)
		}
	})
	direct, through := c.NewDatabase(t), c.NewDatabase(t)
	for _, db := range []string{direct, through} {
		if err := c.Primary().ExecIn(ctx, db, stateSchema); err != nil {
			t.Fatal(err)
		}
	}
	pools := map[int]*instance{}
	for _, s := range readScripts(t, "testdata/state") {
		if s.since > c.Version() {
			continue // TestOnOtherVersionsOfPostgres runs it
		}
		in := pools[s.pool]
		if in == nil {
			in = startTestServer(t, c, func(cfg *ServeConfig) {
				cfg.Replica = nil // so that the pool is as small as it says
				cfg.PoolSize = s.pool
			})
			covered(t, c, in, through)
			pools[s.pool] = in
		}
		t.Run(s.name, func(t *testing.T) { s.run(t, ctx, c, in, direct, through) })
	}
}

const stateSchema = `CREATE TABLE t(a int PRIMARY KEY, b text); INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 5) i;
	CREATE SCHEMA other; CREATE TABLE other.t(a int PRIMARY KEY, b text); INSERT INTO other.t VALUES (1, 'other');
	GRANT ALL ON SCHEMA public, other TO PUBLIC; GRANT SELECT ON t, other.t TO state_alice; GRANT ALL ON t TO state_bob;
	CREATE FUNCTION sets(name text, value text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config(name, value, false); END $$;
	CREATE FUNCTION temporarily() RETURNS int LANGUAGE plpgsql AS $$ BEGIN CREATE TEMP TABLE f(a int); INSERT INTO f VALUES (7); DROP TABLE f; RETURN 1; END $$;
	CREATE FUNCTION fails() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'failed'; END $$;`

func (s script) run(t *testing.T, ctx context.Context, c *cluster.Cluster, in *instance, direct, through string) {
	want, got := map[string]*wireConn{}, map[string]*wireConn{}
	for _, line := range s.lines {
		client, text, _ := strings.Cut(line, " ")
		client, extended := strings.CutSuffix(client, ":")
		if want[client] == nil {
			user, params := "postgres", s.startup[client]
			if len(params) > 0 && params[0].Name == "user" {
				user, params = params[0].Value, params[1:]
			}
			want[client] = dialStartup(t, ctx, c.Primary().Addr(), direct, user, c.Password(), params)
			got[client] = dialStartup(t, ctx, in.Addrs()[0], through, user, c.Password(), params)
			defer want[client].conn.Close()
			defer got[client].conn.Close()
		}
		send := func(conn *wireConn, text string) (syncs int) {
			msgs, syncs := wire.AppendQuery(nil, text), 1
			if extended {
				msgs, syncs = readExtended(t, text)
			}
			conn.send(t, msgs)
			return syncs
		}
		syncs := send(want[client], strings.ReplaceAll(text, "$DB", direct))
		send(got[client], strings.ReplaceAll(text, "$DB", through))
		w := strings.ReplaceAll(want[client].replies(t, syncs), direct, "DB")
		g := strings.ReplaceAll(got[client].replies(t, syncs), through, "DB")
		if w != g {
			t.Fatalf("%s\n\nPostgres:\n%s\nthrough Freshet:\n%s", line, w, g)
		}
		if testing.Verbose() {
			t.Logf("%s\n%s", line, w)
		}
	}
}

// readExtended reads a line of extended-protocol messages.
func readExtended(t *testing.T, line string) ([]byte, int) {
	var out []byte
	syncs := 0
	for _, part := range strings.Split(line+"| sync", "|") {
		verb, rest, _ := strings.Cut(strings.TrimSpace(part), " ")
		name, rest, _ := strings.Cut(strings.TrimSpace(rest), " ")
		name = strings.Trim(name, `"`)
		verb, portal, _ := strings.Cut(verb, "@")
		switch verb {
		case "parse":
			out = wire.AppendParse(out, name, rest)
		case "bind":
			name, portal, _ := strings.Cut(name, "@")
			var params [][]byte
			for _, f := range strings.Fields(rest) {
				if f == "NULL" {
					params = append(params, nil)
				} else {
					params = append(params, []byte(strings.Trim(f, "'")))
				}
			}
			out = wire.AppendBind(out, portal, name, nil, params, nil)
		case "describe":
			out = wire.AppendDescribe(out, wire.ObjectStatement, name)
		case "portal":
			out = wire.AppendDescribe(out, wire.ObjectPortal, name)
		case "execute":
			rows, _ := strconv.Atoi(name)
			out = wire.AppendExecute(out, portal, uint32(rows))
		case "close":
			if portal, ok := strings.CutPrefix(name, "@"); ok {
				out = wire.AppendClose(out, wire.ObjectPortal, portal)
				break
			}
			out = wire.AppendClose(out, wire.ObjectStatement, name)
		case "query":
			out = wire.AppendQuery(out, strings.TrimSpace(name+" "+rest))
			syncs++
		case "skipped": // a Query behind an error
			out = wire.AppendQuery(out, strings.TrimSpace(name+" "+rest))
		case "data":
			out = wire.AppendCopyData(out, []byte(strings.TrimSpace(name+" "+rest)+"\n"))
		case "done":
			out = wire.AppendCopyDone(out)
		case "flush":
			out = wire.AppendFlush(out)
		case "sync":
			out = wire.AppendSync(out)
			syncs++
		default:
			t.Fatalf("%q isn't understood", part)
		}
	}
	return out, syncs
}
