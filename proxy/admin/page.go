package admin

import (
	"html/template"
	"maps"
	"slices"
	"time"
)

// page is what a person sees at /.
var page = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="5">
<title>Freshet: {{.Readiness.Status}}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; color: #1c2733 }
table { border-collapse: collapse; width: 100%; margin: 1rem 0 }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #dde3ea; vertical-align: top }
td.number { text-align: right; font-variant-numeric: tabular-nums }
.ok { color: #1a7f4b } .degraded, .draining { color: #9a6700 } .down { color: #b3261e } .off { color: #66727f }
footer { color: #66727f }
</style>
<h1>Freshet: <span class="{{.Readiness.Status}}">{{.Readiness.Status}}</span></h1>
<table>
<tr><th>part<th>name<th>status<th>why
{{range .Readiness.Parts}}<tr><td>{{.Kind}}<td>{{.Name}}<td class="{{.Status}}">{{.Status}}<td>{{.Reason}}
{{end}}</table>
<table>
<tr><th>answered from<th class="number">queries
{{range .Queries}}<tr><td>{{.Name}}<td class="number">{{.Count}}
{{end}}</table>
<p>{{.Clients}} clients connected.</p>
<p><a href="metrics">metrics</a> for Prometheus ·
<a href="readyz">readyz</a>: can it answer reads, what is degraded ·
<a href="healthz">healthz</a>: does it live</p>
<footer>{{.Version}}, {{.At}}</footer>
`))

type pageData struct {
	Version, At string
	Readiness   pageReadiness
	Queries     []pageCount
	Clients     int64
}

type pageReadiness struct {
	Status string
	Parts  []namedPart
}

type pageCount struct {
	Name  string
	Count uint64
}

func newPageData(version string, s Snapshot, now time.Time) pageData {
	r := judge(s)
	d := pageData{
		Version:   version,
		At:        now.UTC().Format(time.RFC3339),
		Readiness: pageReadiness{Status: r.Status, Parts: r.parts()},
		Clients:   s.Clients,
	}
	for _, source := range slices.Sorted(maps.Keys(s.Queries)) {
		d.Queries = append(d.Queries, pageCount{source, s.Queries[source]})
	}
	return d
}
