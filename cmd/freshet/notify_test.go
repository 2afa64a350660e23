package main

import (
	"context"
	"testing"
)

// A client knows its own notifications by the pid in them, which is the one that it was told.
func TestOwnNotificationsHaveTheClientsPid(t *testing.T) {
	c := shared.Get(t)
	in := startTestServer(t, c, nil)
	db := c.NewDatabase(t)
	ctx := context.Background()
	a, b := in.connect(t, c, db, ""), in.connect(t, c, db, "")
	for _, sql := range []string{"LISTEN news", "NOTIFY news, 'mine'"} {
		if _, err := a.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	n, err := a.WaitForNotification(ctx)
	if err != nil || n.Payload != "mine" || n.PID != a.PgConn().PID() {
		t.Errorf("%+v, %v: the client's pid is %d", n, err, a.PgConn().PID())
	}
	if _, err := b.Exec(ctx, "NOTIFY news, 'theirs'"); err != nil {
		t.Fatal(err)
	}
	n, err = a.WaitForNotification(ctx)
	if err != nil || n.Payload != "theirs" || n.PID == a.PgConn().PID() {
		t.Errorf("%+v, %v", n, err)
	}
}
