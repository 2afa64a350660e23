package auth

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/freshet/freshet/bench/cluster"
)

var pg = cluster.Shared{Options: cluster.Options{Replicas: 1}}

func TestMain(m *testing.M) { goleak.VerifyTestMain(pg.Main(m)) }
