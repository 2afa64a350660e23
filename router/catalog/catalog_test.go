package catalog_test

import (
	"context"
	"testing"

	"go.uber.org/goleak"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/router/catalog"
)

var pg = cluster.Shared{}

func TestMain(m *testing.M) { goleak.VerifyTestMain(pg.Main(m)) }

func TestLoadReadsAnEmptyDatabase(t *testing.T) {
	c := pg.Get(t)
	conn, err := c.Primary().Connect(context.Background(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	s, err := catalog.Load(context.Background(), conn)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(s.Digest)
	if len(s.FunctionsNamed("lower")) < 2 {
		t.Errorf("lower: %v", s.FunctionsNamed("lower"))
	}
}

func BenchmarkLoad(b *testing.B) {
	conn, err := pg.Get(b).Primary().Connect(context.Background(), "postgres")
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close(context.Background())
	for b.Loop() {
		if _, err := catalog.Load(context.Background(), conn); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDigest(b *testing.B) {
	conn, err := pg.Get(b).Primary().Connect(context.Background(), "postgres")
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close(context.Background())
	for b.Loop() {
		if _, err := catalog.Digest(context.Background(), conn, 150000); err != nil {
			b.Fatal(err)
		}
	}
}
