package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"
)

// Result is one run of the comparison, as it is kept in docs/bench/compare.json. Its field names are relied on by whoever draws
// charts over several runs.
type Result struct {
	Command string    `json:"command"`
	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds"` // how long it took in all

	Host     Host              `json:"host"`
	Versions map[string]string `json:"versions"`

	Rounds     int `json:"rounds"`
	RunSeconds int `json:"run_seconds"`
	Clients    int `json:"clients"`
	Threads    int `json:"threads"`
	Accounts   int `json:"accounts"`
	HotKeys    int `json:"hot_keys"`

	Contenders  []Contender  `json:"contenders"`
	Workloads   []Workload   `json:"workloads"`
	Allocations []Allocation `json:"allocations"`
	Writes      []Write      `json:"writes"`
	Sums        *Sums        `json:"sums,omitempty"`
	Goals       []Goal       `json:"goals"`
}

// Host is the machine, and how busy it was with other things.
type Host struct {
	OS    string `json:"os"`
	CPU   string `json:"cpu"`
	Cores int    `json:"cores"`
	// Load is the load average over the minute before the first run: what others were doing. Negative: not known.
	Load float64 `json:"load"`
	// Steal is the share of CPU time that the hypervisor gave to others during the runs. Negative: not known.
	Steal float64 `json:"steal"`
}

// Contender is one of those that are compared.
type Contender struct {
	Key   string `json:"key"`
	Label string `json:"label"`
	// Setup is how it was configured, in a sentence.
	Setup string `json:"setup"`
}

// Workload is one script in one protocol mode.
type Workload struct {
	Key    string   `json:"key"`
	Title  string   `json:"title"`
	Mode   string   `json:"mode"` // pgbench's -M
	Cached bool     `json:"cached"`
	Series []Series `json:"series"`
}

// Series is one contender's runs of a workload.
type Series struct {
	Contender string `json:"contender"`
	Note      string `json:"note,omitempty"` // what makes it a different thing here
	// LoginMicros is the proxy process's CPU time for a client that logs in, asks once, and leaves. Nil: not measured.
	LoginMicros *float64 `json:"login_cpu_us,omitempty"`
	Runs        []Run    `json:"runs"`
	// Median of each figure over the runs.
	Median Run `json:"median"`
}

// Run is one run of pgbench.
type Run struct {
	TPS          float64 `json:"tps"` // without the time to connect
	LatencyMS    float64 `json:"latency_ms"`
	Transactions float64 `json:"transactions"`
	// CPUMicros is the proxy process's CPU time, user and system, by transaction, less LoginMicros for each client. Nil: not measured.
	CPUMicros *float64 `json:"cpu_us,omitempty"`
	// CacheShare is the share of queries that Freshet says it has answered from its cache. Nil: not measured.
	CacheShare *float64 `json:"cache_share,omitempty"`
}

// Allocation is what Freshet allocated on its heap for a query answered from its cache.
type Allocation struct {
	Mode     string  `json:"mode"`
	Queries  float64 `json:"queries"`
	PerQuery float64 `json:"per_query"`
	// Idle is what the process allocates in the same time when it has nothing to do; it is not in PerQuery.
	Idle float64 `json:"idle"`
	// Busy is all that the process has allocated meanwhile.
	Busy float64 `json:"busy"`
	// CacheShare as in Run.
	CacheShare float64 `json:"cache_share"`
}

// Write is one short run that writes: a check that nothing is lost, not a measurement.
type Write struct {
	Script    string  `json:"script"`
	Mode      string  `json:"mode"`
	Contender string  `json:"contender"`
	Note      string  `json:"note,omitempty"`
	TPS       float64 `json:"tps"`
}

// Sums are pgbench's invariants after all writes; a run in which they don't hold has no Result.
type Sums struct {
	Transactions int64 `json:"transactions"` // as pgbench has counted them, and rows of the history
	Accounts     int64 `json:"accounts"`     // sum of balances
	Branches     int64 `json:"branches"`
	Tellers      int64 `json:"tellers"`
	// Through names the contenders through which the same sums were read.
	Through []string `json:"through"`
}

// series finds a contender's series; nil: it didn't take part.
func (w *Workload) series(contender string) *Series {
	for i := range w.Series {
		if w.Series[i].Contender == contender {
			return &w.Series[i]
		}
	}
	return nil
}

// workload finds a workload; nil: it wasn't run.
func (r *Result) workload(key string) *Workload {
	for i := range r.Workloads {
		if r.Workloads[i].Key == key {
			return &r.Workloads[i]
		}
	}
	return nil
}

// label is what a contender is called in tables.
func (r *Result) label(key string) string {
	for _, c := range r.Contenders {
		if c.Key == key {
			return c.Label
		}
	}
	return key
}

// Files of the results.
const (
	jsonFile       = "compare.json"
	markdownFile   = "compare.md"
	throughputFile = "throughput.svg"
	cpuFile        = "cpu.svg"
)

// write writes all files into dir, and the Markdown into page, unless that is empty.
func (r *Result) write(dir, page string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, jsonFile), append(b, '\n'), 0o644); err != nil {
		return err
	}
	if err := r.drawThroughput(filepath.Join(dir, throughputFile)); err != nil {
		return err
	}
	if err := r.drawCPU(filepath.Join(dir, cpuFile)); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, markdownFile), []byte(r.markdown("")), 0o644); err != nil {
		return err
	}
	if page == "" {
		return nil
	}
	rel, err := filepath.Rel(filepath.Dir(page), dir)
	if err != nil {
		return err
	}
	text, err := replaceMeasured(page, r.markdown(filepath.ToSlash(rel)+"/"))
	if err != nil {
		return err
	}
	return os.WriteFile(page, []byte(text), 0o644)
}
