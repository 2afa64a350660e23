package cluster

import (
	"os"
	"path/filepath"
)

// makeCertificates makes an authority and the servers' certificate.
func (c *Cluster) makeCertificates() error {
	dir := filepath.Join(c.dir, "tls")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := c.account.own(dir); err != nil {
		return err
	}
	authority, err := NewAuthority("freshet test authority")
	if err != nil {
		return err
	}
	cert, key, err := authority.Server()
	if err != nil {
		return err
	}
	for name, text := range map[string][]byte{"ca.crt": authority.PEM(), "server.crt": cert, "server.key": key} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return err
		}
		if err := c.account.own(path); err != nil {
			return err
		}
	}
	c.authority, c.caFile = authority, filepath.Join(dir, "ca.crt")
	return nil
}

// Authority is who vouches for the servers, and for clients towards them; nil without Options.TLS.
func (c *Cluster) Authority() *Authority { return c.authority }
