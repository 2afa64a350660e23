package catalog

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
)

// Load reads a snapshot over a connection to the database, which it uses for one read-only transaction.
func Load(ctx context.Context, conn *pgx.Conn) (*Snapshot, error) {
	return nil, errors.New("catalog: not implemented")
}
