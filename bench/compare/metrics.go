package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// client makes a new connection for each request, so that none of ours is kept by the one who is measured.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// get is the text of one of a contender's pages. A status other than 200 is an error that says what the page did.
func (c *contender) get(ctx context.Context, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.http+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s says %s: %s", path, resp.Status, tail(b, 1000))
	}
	return string(b), err
}

// ready tells whether it says so itself.
func (c *contender) ready(ctx context.Context) error {
	_, err := c.get(ctx, "/readyz")
	return err
}

// counters are what a Freshet has counted so far.
type counters struct {
	mallocs float64            // objects allocated on the heap
	queries map[string]float64 // answered, by source
}

func (c *contender) counters(ctx context.Context) (counters, error) {
	text, err := c.get(ctx, "/metrics")
	if err != nil {
		return counters{}, err
	}
	return parseCounters(text)
}

// Names of metrics. The second is the Go runtime's.
const (
	queriesMetric = "freshet_queries_total"
	mallocsMetric = "go_memstats_mallocs_total"
)

func parseCounters(text string) (counters, error) {
	k := counters{queries: map[string]float64{}}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		return k, fmt.Errorf("metrics: %w", err)
	}
	mallocs, queries := families[mallocsMetric], families[queriesMetric]
	if mallocs == nil || queries == nil {
		return k, errors.New("metrics: " + mallocsMetric + " or " + queriesMetric + " is missing")
	}
	for _, m := range mallocs.GetMetric() {
		k.mallocs += number(m)
	}
	for _, m := range queries.GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() == "source" {
				k.queries[l.GetValue()] += number(m)
			}
		}
	}
	return k, nil
}

// number is a metric's value, whether its type was declared or not.
func number(m *dto.Metric) float64 {
	switch {
	case m.GetCounter() != nil:
		return m.GetCounter().GetValue()
	case m.GetGauge() != nil:
		return m.GetGauge().GetValue()
	}
	return m.GetUntyped().GetValue()
}

// since is what was counted after an earlier look.
func (k counters) since(before counters) counters {
	d := counters{mallocs: k.mallocs - before.mallocs, queries: map[string]float64{}}
	for s, n := range k.queries {
		d.queries[s] = n - before.queries[s]
	}
	return d
}

// total is the number of queries.
func (k counters) total() (n float64) {
	for _, q := range k.queries {
		n += q
	}
	return n
}

// cacheShare is the share of queries answered from the cache; false: there were none.
func (k counters) cacheShare() (float64, bool) {
	if k.total() == 0 {
		return 0, false
	}
	return k.queries["l1"] / k.total(), true
}
