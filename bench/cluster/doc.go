// Package cluster starts a real Postgres primary, streaming replicas and,
// if wanted, Redis, from the binaries on the machine, in a folder of its own
// and on loopback ports of its own. The demo, the benchmarks and every
// integration test use it; nothing in it stands in for a server.
//
// It is not a way to run a database that is to be kept: fsync is off, and
// Stop removes the folder.
//
// The rule it upholds: nothing is left over. Whatever happens to the process
// that started a cluster (Stop, a panic, SIGKILL), its servers end and its
// folder goes. A small watchdog, a shell that reads from a pipe which only the
// owner holds open, sees to it (watchdog.go). And the other way round: only
// processes that the cluster itself started are ever signalled.
//
// In a test:
//
//	c := cluster.ForTest(t, cluster.Options{Replicas: 2})
//	conn, err := c.Primary().Connect(ctx, cluster.App)
//
// Or one cluster for all tests of a package, started when the first test asks,
// with a database of its own for each test:
//
//	var pg = cluster.Shared{Options: cluster.Options{Replicas: 1}}
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(pg.Main(m)) }
//
//	func TestX(t *testing.T) {
//		c := pg.Get(t)
//		db := c.NewDatabase(t)
//		…
//	}
//
// While a cluster is up, each of its servers is waited for by a goroutine, which
// goleak.VerifyNone in a single test is told to pass over with
// goleak.IgnoreAnyFunction("github.com/freshet/freshet/bench/cluster.(*process).reap").
//
// Every cluster has the superuser Superuser, and the ordinary role App which
// owns the database App; both log in with passwords (SCRAM), which are random.
package cluster
