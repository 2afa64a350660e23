package topology

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// A server's name is resolved by the dialer, with each connection anew: so one of its addresses that doesn't answer
// doesn't use up all of the time, and a name that has moved is followed (HAZARDS 20).
func TestHazard20NamesAreForTheDialer(t *testing.T) {
	for url, want := range map[string]string{
		"postgres://u:p@db.invalid:5433/d?sslmode=disable":           "db.invalid:5433",
		"postgres://u:p@[2001:db8::1]:5433/d?sslmode=disable":        "[2001:db8::1]:5433",
		"postgres://u:p@/d?host=/nowhere/there&port=5433":            "/nowhere/there/.s.PGSQL.5433",
		"postgres://u:p@db.invalid/d?sslmode=verify-full&options=-c": "db.invalid:5432",
	} {
		pc, err := parseURL(url, Config{}.withDefaults())
		if err != nil {
			t.Fatal(err)
		}
		var dialled []string
		pc.DialFunc = func(_ context.Context, _, addr string) (net.Conn, error) {
			dialled = append(dialled, addr)
			return nil, errors.New("no")
		}
		for range 2 {
			if _, err := pgconn.ConnectConfig(t.Context(), pc); err == nil {
				t.Fatal("connected")
			}
		}
		if !slices.Equal(dialled, []string{want, want}) {
			t.Errorf("%s: dialled %q", url, dialled)
		}
	}
}
