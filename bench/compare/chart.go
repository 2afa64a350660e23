package main

import (
	"fmt"
	"image/color"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// colors of contenders: greys for what Freshet is measured against, blues for Freshet. They stay apart in print.
var colors = map[string]color.Color{
	"direct":          color.RGBA{0xd9, 0xd9, 0xd9, 0xff},
	"pgbouncer":       color.RGBA{0x96, 0x96, 0x96, 0xff},
	"floor":           color.RGBA{0x52, 0x52, 0x52, 0xff},
	"freshet":         color.RGBA{0x08, 0x51, 0x9c, 0xff},
	"freshet-off":     color.RGBA{0x42, 0x92, 0xc6, 0xff},
	"freshet-primary": color.RGBA{0xb3, 0xcd, 0xe3, 0xff},
}

// drawThroughput draws a bar for each contender and mode.
func (r *Result) drawThroughput(path string) error {
	return r.draw(path, "thousand transactions per second", func(s *Series) (float64, bool) {
		return s.Median.TPS / 1000, true
	})
}

// drawCPU does the same for CPU times.
func (r *Result) drawCPU(path string) error {
	if !r.hasCPU() {
		return nil
	}
	return r.draw(path, "proxy's CPU time per query, µs", func(s *Series) (float64, bool) {
		if s.Median.CPUMicros == nil {
			return 0, false
		}
		return *s.Median.CPUMicros, true
	})
}

// draw draws bars, a group for each workload. A contender without a figure in any of them has no bars; in some, none there.
func (r *Result) draw(path, axis string, figure func(*Series) (float64, bool)) error {
	plot.DefaultFont.Variant = "Sans" // New takes it from there
	p := plot.New()
	p.Title.Text = fmt.Sprintf("pgbench -S, %d clients, %d cores; medians of %d rounds", r.Clients, r.Host.Cores, r.Rounds)
	p.Title.Padding = vg.Points(8)
	p.Y.Label.Text = axis
	p.Y.Min = 0
	p.Legend.Top = true
	p.Legend.Padding = vg.Points(2)
	var names []string
	for _, w := range r.Workloads {
		name := w.Mode
		if !w.Cached {
			name += ", misses"
		}
		names = append(names, name)
	}
	type bars struct {
		contender Contender
		values    plotter.Values
	}
	var all []bars
	top := 0.0
	for _, c := range r.Contenders {
		b, has := bars{contender: c}, false
		for i := range r.Workloads {
			v, ok := 0.0, false
			if s := r.Workloads[i].series(c.Key); s != nil {
				v, ok = figure(s)
			}
			b.values = append(b.values, v)
			has, top = has || ok, max(top, v)
		}
		if has {
			all = append(all, b)
		}
	}
	const width = 15
	for i, b := range all {
		chart, err := plotter.NewBarChart(b.values, vg.Points(width))
		if err != nil {
			return err
		}
		chart.Color = colors[b.contender.Key]
		chart.LineStyle.Width = 0
		chart.Offset = vg.Points(width * (float64(i) - float64(len(all)-1)/2))
		p.Add(chart)
		p.Legend.Add(b.contender.Label, chart)
	}
	p.NominalX(names...)
	p.X.Min, p.X.Max = -0.5, float64(len(names))-0.5
	p.Y.Max = 1.35 * top // room for the legend
	p.Y.Tick.Marker = plot.TickerFunc(func(low, high float64) []plot.Tick {
		ticks := plot.DefaultTicks{}.Ticks(low, high)
		for i := range ticks {
			if ticks[i].Label != "" {
				ticks[i].Label = fmt.Sprintf("%g", ticks[i].Value)
			}
		}
		return ticks
	})
	return p.Save(8*vg.Inch, 4*vg.Inch, path)
}
