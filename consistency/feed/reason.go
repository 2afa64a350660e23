package feed

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// problem is a failure with what mends it.
type problem struct {
	err  error
	mend string
}

func (p *problem) Error() string { return p.err.Error() + ": " + p.mend }
func (p *problem) Unwrap() error { return p.err }

func problemf(mend, format string, args ...any) error {
	return &problem{fmt.Errorf(format, args...), mend}
}

// explain says an error in a way that helps whoever runs the server.
func explain(err error) string {
	var known *problem
	var pg *pgconn.PgError
	if errors.As(err, &known) || !errors.As(err, &pg) {
		return err.Error()
	}
	mend := ""
	switch pg.Code {
	case "28000", "28P01", "3D000": // invalid authorization, password, database
		mend = "see the service URL and pg_hba.conf"
	case "42501": // insufficient_privilege
		mend = "the service user needs REPLICATION: ALTER ROLE … REPLICATION"
	case "53300": // too_many_connections, also of WAL senders
		mend = "raise max_wal_senders or max_connections"
	case "53400": // configuration_limit_exceeded
		mend = "raise max_replication_slots"
	case "55006": // object_in_use
		mend = "another Freshet uses this slot: each needs its own, or none for a temporary one"
	}
	if mend == "" {
		return err.Error()
	}
	return err.Error() + ": " + mend
}
