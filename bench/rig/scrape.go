package rig

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Metrics is a page of metrics: families by name.
type Metrics map[string]*dto.MetricFamily

// web makes a new connection for each request, so that none of ours is kept by the one who is measured.
var web = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// Get is the text of a page of Freshet's, at the address of its --http. A status other than 200 is an error that says what the page did.
// Safe for concurrent use.
func Get(ctx context.Context, addr, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		return nil, err
	}
	answer, err := web.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	page, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s says %s: %s", request.URL, answer.Status, page[:min(len(page), 1000)])
	}
	return page, err
}

// Scrape reads Freshet's metrics.
func Scrape(ctx context.Context, addr string) (Metrics, error) {
	page, err := Get(ctx, addr, "/metrics")
	if err != nil {
		return nil, err
	}
	return ReadMetrics(bytes.NewReader(page))
}

// ReadMetrics takes a page in Prometheus' text format apart.
func ReadMetrics(page io.Reader) (Metrics, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(page)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	return families, nil
}

// Sum adds up a counter or gauge over its series, or over those that have these labels (name, value, name, value, …). 0 if there are none.
func (m Metrics) Sum(name string, labels ...string) (sum float64) {
	for _, series := range m[name].GetMetric() {
		all := true
		for pair := range slices.Chunk(labels, 2) {
			all = all && slices.ContainsFunc(series.GetLabel(), func(l *dto.LabelPair) bool { return l.GetName() == pair[0] && l.GetValue() == pair[1] })
		}
		if all {
			sum += number(series)
		}
	}
	return sum
}

// By adds it up by the values of a label.
func (m Metrics) By(name, label string) map[string]float64 {
	sums := map[string]float64{}
	for _, series := range m[name].GetMetric() {
		for _, l := range series.GetLabel() {
			if l.GetName() == label {
				sums[l.GetValue()] += number(series)
			}
		}
	}
	return sums
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
