package admin

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type fixed Snapshot

func (f fixed) Snapshot() Snapshot { return Snapshot(f) }

func primary() Node {
	return Node{Name: "db1:5432", Role: "primary", Primary: true, Up: true, Lag: -1, LagBytes: -1}
}

func replica(name string) Node {
	return Node{Name: name, Role: "replica", Up: true, Lag: 3 * time.Millisecond, LagBytes: 120}
}

// wellSnapshot has something for every metric.
func wellSnapshot() Snapshot {
	return Snapshot{
		Queries:      map[string]uint64{"l1": 70, "flight": 5, "replica": 20, "primary": 5},
		QueryErrors:  2,
		Retries:      1,
		Tiers:        []Tier{{Name: "l1", Hits: 75, Bytes: 4096, Limit: 1 << 20, Entries: 3, Evictions: map[string]uint64{"unused": 9, "stale": 2}}},
		Waits:        8,
		WaitsInVain:  3,
		Misses:       map[string]uint64{"absent": 11, "feed": 1, "behind_floor": 2, "uncovered": 0},
		FlightShared: 5,
		Feeds: []Feed{{Database: "app", Serving: true, Lag: 1500 * time.Microsecond, Relations: 4, Commits: 12,
			ColumnSets: 7, ColumnSetsMost: 3, CellBytes: 4096, CellLimit: 65536, ColumnSetsRefused: 2}},
		Pins:       6,
		Bound:      7,
		Clients:    8,
		MaxClients: 10000,
		Nodes:      []Node{primary(), replica("db2:5432")},
		Failovers:  1,
		Pools:      []Pool{{Node: "db1:5432", Database: "app", User: "web", Idle: 3, Busy: 2, Connecting: 1, Waiting: 4}},
	}
}

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w.Code, w.Body.String()
}

func handler(s Snapshot) http.Handler {
	return NewHandler(Config{Source: fixed(s), Version: "v1", Commit: "abc"})
}

// TestMetricsFollowConventions: promlint has nothing to say, and series don't contradict each other.
func TestMetricsFollowConventions(t *testing.T) {
	r := newRegistry(Config{Source: fixed(wellSnapshot())})
	problems, err := testutil.GatherAndLint(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "freshet_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

// TestMetricsOfInterface: the names and labels that INTERFACE promises, with the snapshot's values.
func TestMetricsOfInterface(t *testing.T) {
	code, body := get(t, handler(wellSnapshot()), "/metrics")
	if code != http.StatusOK {
		t.Fatal(code, body)
	}
	for _, line := range []string{
		`freshet_queries_total{source="l1"} 70`,
		`freshet_queries_total{source="flight"} 5`,
		`freshet_queries_total{source="replica"} 20`,
		`freshet_queries_total{source="primary"} 5`,
		`freshet_query_errors_total 2`,
		`freshet_retries_total 1`,
		`freshet_cache_hits_total{tier="l1"} 75`,
		`freshet_cache_misses_total{reason="absent"} 11`,
		`freshet_cache_misses_total{reason="uncovered"} 0`,
		`freshet_cache_misses_total{reason="behind_floor"} 2`,
		`freshet_catch_up_waits_total 8`,
		`freshet_catch_up_waits_in_vain_total 3`,
		`freshet_cache_bytes{tier="l1"} 4096`,
		`freshet_cache_limit_bytes{tier="l1"} 1.048576e+06`,
		`freshet_cache_entries{tier="l1"} 3`,
		`freshet_cache_evictions_total{kind="unused",tier="l1"} 9`,
		`freshet_cache_evictions_total{kind="stale",tier="l1"} 2`,
		`freshet_flight_shared_total 5`,
		`freshet_feed_lag_seconds{database="app"} 0.0015`,
		`freshet_feed_serving{database="app"} 1`,
		`freshet_feed_relations{database="app"} 4`,
		`freshet_feed_commits_total{database="app"} 12`,
		`freshet_column_sets{database="app"} 7`,
		`freshet_column_sets_relation_max{database="app"} 3`,
		`freshet_column_set_bytes{database="app"} 4096`,
		`freshet_column_set_limit_bytes{database="app"} 65536`,
		`freshet_column_sets_refused_total{database="app"} 2`,
		`freshet_replica_lag_seconds{node="db2:5432"} 0.003`,
		`freshet_replica_lag_bytes{node="db2:5432"} 120`,
		`freshet_node_up{node="db1:5432",role="primary"} 1`,
		`freshet_node_up{node="db2:5432",role="replica"} 1`,
		`freshet_node_used{node="db2:5432"} 1`,
		`freshet_breaker_open{node="db2:5432"} 0`,
		`freshet_failovers_total 1`,
		`freshet_pins_total 6`,
		`freshet_bound_total 7`,
		`freshet_clients 8`,
		`freshet_clients_max 10000`,
		`freshet_pool_connections{database="app",node="db1:5432",state="idle",user="web"} 3`,
		`freshet_pool_connections{database="app",node="db1:5432",state="busy",user="web"} 2`,
		`freshet_pool_connections{database="app",node="db1:5432",state="connecting",user="web"} 1`,
		`freshet_pool_waiting{database="app",node="db1:5432",user="web"} 4`,
	} {
		if !strings.Contains(body, "\n"+line+"\n") {
			t.Errorf("missing: %s", line)
		}
	}
	if !strings.Contains(body, `freshet_build_info{commit="abc",goversion="go`) || !strings.Contains(body, "process_cpu_seconds_total") {
		t.Error("missing: build info, or metrics of the process")
	}
}

// TestMetricsSayNothingRatherThanWrong: a lag that isn't known has no sample, and names that aren't UTF-8 don't cost the others
// their metrics.
func TestMetricsSayNothingRatherThanWrong(t *testing.T) {
	s := wellSnapshot()
	s.Nodes[1].Lag, s.Nodes[1].LagBytes = -1, -1
	s.Feeds[0].Lag = -1
	s.Feeds = append(s.Feeds, Feed{Database: "caf\xe9", Lag: time.Second})
	code, body := get(t, handler(s), "/metrics")
	if code != http.StatusOK {
		t.Fatal(code, body)
	}
	for _, name := range []string{"freshet_replica_lag_seconds{", "freshet_replica_lag_bytes{", `freshet_feed_lag_seconds{database="app"}`} {
		if strings.Contains(body, name) {
			t.Errorf("%s has a sample", name)
		}
	}
	if !strings.Contains(body, "freshet_feed_lag_seconds{database=\"caf\uFFFD\"} 1\n") {
		t.Error("no sample for a name that isn't UTF-8")
	}
}

// TestReadiness: 200 if and only if reads can be answered; what is degraded has a reason.
func TestReadiness(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Snapshot)
		ready  bool
		status string
		reason string // somewhere in the body
	}{
		{"all well", func(*Snapshot) {}, true, "ok", ""},
		{"no database in use yet", func(s *Snapshot) { s.Feeds = nil }, true, "ok", ""},
		{"cache off", func(s *Snapshot) { s.CacheOff, s.Feeds = true, nil }, true, "ok", "--cache=off"},
		{"replica down", func(s *Snapshot) { s.Nodes[1].Up, s.Nodes[1].Reason = false, "connection refused" }, true, "degraded", "connection refused"},
		{"replica lags", func(s *Snapshot) { s.Nodes[1].Reason = "lags by 12s" }, true, "degraded", "lags by 12s"},
		{"no primary", func(s *Snapshot) { s.Nodes = s.Nodes[1:] }, true, "degraded", "no primary is known"},
		{"fenced primary", func(s *Snapshot) {
			s.Nodes = append(s.Nodes, Node{Name: "db3:5432", Role: "primary", Up: false, Reason: "fenced: timeline 1 < 2"})
		}, true, "degraded", "fenced: timeline 1 < 2"},
		{"only a fenced primary", func(s *Snapshot) {
			s.Nodes = []Node{{Name: "db3:5432", Role: "primary", Up: true, Reason: ""}}
		}, false, "down", "no primary is known"},
		{"unknown node", func(s *Snapshot) { s.Nodes = []Node{{Name: "db3:5432", Role: "unknown", Up: true}} }, false, "down", "no primary is known"},
		{"nobody", func(s *Snapshot) { s.Nodes = nil }, false, "down", "no primary is known"},
		{"everybody down", func(s *Snapshot) {
			for i := range s.Nodes {
				s.Nodes[i].Up = false
			}
		}, false, "down", "it doesn't answer"},
		{"feed down", func(s *Snapshot) { s.Feeds[0].Serving, s.Feeds[0].Reason = false, "wal_level is replica" }, true, "degraded", "wal_level is replica"},
		{"feed of one of two down", func(s *Snapshot) { s.Feeds = append(s.Feeds, Feed{Database: "other"}) }, true, "degraded", "it isn't caught up"},
		{"feed serves, but not well", func(s *Snapshot) { s.Feeds[0].Reason = "no event triggers" }, true, "degraded", "no event triggers"},
		{"draining", func(s *Snapshot) { s.Draining = true }, false, "draining", ""},
		{"secret in a reason", func(s *Snapshot) { s.Nodes[1].Reason = "can't connect to postgres://u:hunter2@h/db" }, true, "degraded", "postgres://u:***@h/db"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := wellSnapshot()
			c.change(&s)
			code, body := get(t, handler(s), "/readyz")
			var r readiness
			if err := json.Unmarshal([]byte(body), &r); err != nil {
				t.Fatal(err, body)
			}
			want := http.StatusServiceUnavailable
			if c.ready {
				want = http.StatusOK
			}
			if code != want || r.Ready != c.ready || r.Status != c.status || !strings.Contains(body, c.reason) || strings.Contains(body, "hunter2") {
				t.Errorf("%d, want %d, %s with %q:\n%s", code, want, c.status, c.reason, body)
			}
			for _, p := range r.parts() {
				if p.Status != statusOK && p.Reason == "" {
					t.Errorf("%s %s is %s without a reason", p.Kind, p.Name, p.Status)
				}
			}
			if code, body := get(t, handler(s), "/healthz"); code != http.StatusOK || body != "ok\n" {
				t.Errorf("/healthz: %d %q", code, body)
			}
		})
	}
}

// TestPageEscapes: names of databases are anybody's choice.
func TestPageEscapes(t *testing.T) {
	s := wellSnapshot()
	s.Feeds[0].Database = `<script>alert(1)</script>`
	code, body := get(t, handler(s), "/")
	if code != http.StatusOK || strings.Contains(body, "<script") || !strings.Contains(body, "&lt;script&gt;") {
		t.Errorf("%d\n%s", code, body)
	}
	for _, link := range []string{`href="metrics"`, `href="readyz"`, `href="healthz"`} {
		if !strings.Contains(body, link) {
			t.Errorf("no %s", link)
		}
	}
}

// TestOnlyGet: nothing can be changed over HTTP, and there is nothing else.
func TestOnlyGet(t *testing.T) {
	h := handler(wellSnapshot())
	for _, path := range []string{"/", "/metrics", "/healthz", "/readyz"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("POST", path, nil))
		if w.Code != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %d", path, w.Code)
		}
	}
	if code, _ := get(t, h, "/nothing"); code != http.StatusNotFound {
		t.Errorf("GET /nothing: %d", code)
	}
}

// TestServer: it serves until Shutdown, which may be called again, and has a bound for every wait.
func TestServer(t *testing.T) {
	s := New(Config{Source: fixed(wellSnapshot())})
	for name, d := range map[string]time.Duration{"read": s.http.ReadTimeout, "header": s.http.ReadHeaderTimeout, "write": s.http.WriteTimeout, "idle": s.http.IdleTimeout} {
		if d <= 0 {
			t.Errorf("no %s timeout", name)
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	resp, err := client.Get("http://" + ln.Addr().String() + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%v %v %s", err, resp.Status, body)
	}
	for range 2 {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"postgres://u:hunter2@h:5432/db?sslmode=disable":          "postgres://u:***@h:5432/db?sslmode=disable",
		`cannot parse "postgres://u:hun/t?er#2@h/db": bad`:        `cannot parse "postgres://u:***@h/db": bad`,
		"postgres://u:hunter@2@h/db":                              "postgres://u:***@h/db",
		"redis://:hunter2@h:1/0":                                  "redis://:***@h:1/0",
		"host=h password=hunter2 user=u":                          "host=h password=*** user=u",
		`host=h password='hun ter\'2' user=u`:                     `host=h password=*** user=u`,
		"postgres://h/db?user=u&password=hunter2&sslmode=disable": "postgres://h/db?user=u&password=***&sslmode=disable",
		"postgres://h/db?sslpassword=hunter2":                     "postgres://h/db?sslpassword=***",
		"postgres://u:hunter2@a/x postgres://v:hunter2@b/y":       "postgres://u:***@a/x postgres://v:***@b/y",
		"a=postgres://u:hunter2@a/x,postgres://v:hunter2@b/y":     "a=postgres://u:***@b/y",
		"dial tcp 127.0.0.1:5432: connection refused":             "dial tcp 127.0.0.1:5432: connection refused",
		"postgres://h:5432/db":                                    "postgres://h:5432/db",
		"http://127.0.0.1:6480/metrics":                           "http://127.0.0.1:6480/metrics",
		"password authentication failed for user \"u\"":           "password authentication failed for user \"u\"",
	} {
		if got := Redact(in); got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
}
