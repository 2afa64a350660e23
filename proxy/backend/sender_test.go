package backend

import "testing"

// Whose a notification is, is known where it can be one client's only.
func TestSendersTellNobodyWhereItCouldBeSeveral(t *testing.T) {
	const pid, a, b = 7, 1001, 1002
	senders := &Senders{}
	pool := &Pool{opts: Options{Senders: senders}}
	c := &Conn{pool: pool, pid: pid}
	want := func(since int64, client uint32) {
		t.Helper()
		got, ok := c.Notified(pid, since)
		if ok != (client != 0) || ok && got != client {
			t.Errorf("since %d: %d, %v; want %d", since, got, ok, client)
		}
	}
	want(0, 0)
	s := c.Sender()
	if c.Sender() != s {
		t.Fatal("there are two for one connection")
	}
	want(0, 0) // nobody has used it
	s.Begin(a, 10)
	want(0, a)
	want(10, a)
	s.End(a, 20)
	want(0, a)
	want(30, a)
	s.Begin(b, 40)
	want(15, 0)
	want(20, 0)
	want(21, b)
	s.Begin(b, 45)
	want(21, b)
	s.Begin(a, 50) // b hasn't said that it is over
	want(50, 0)
	want(51, a)
	s.End(b, 60) // which changes nothing
	want(51, a)
	senders.remove(pid, &Sender{})
	want(51, a)
	senders.remove(pid, s)
	want(51, 0)
}
