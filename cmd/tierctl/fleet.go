package main

import (
	"cmp"
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/fleet"
)

// reports reads what processes tell of themselves.
func (c *command) reports(ctx context.Context) ([]fleet.Report, time.Time, error) {
	s, err := c.connect(ctx)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer s.Close()
	log, err := s.readLog(ctx)
	if err != nil {
		return nil, time.Time{}, err
	}
	ctx, cancel := s.ask(ctx)
	defer cancel()
	cmds := make([]valkey.Completed, fleet.Slots)
	for i := range cmds {
		cmds[i] = s.B().Get().Key(fleet.Key(s.prefix, i)).Build()
	}
	var all []fleet.Report
	for _, answer := range s.DoMulti(ctx, cmds...) {
		raw, err := answer.ToString()
		if valkey.IsValkeyNil(err) || isWrongType(err) {
			continue
		}
		if err != nil {
			return nil, time.Time{}, fmt.Errorf("reading the reports: %w", err)
		}
		if r, err := fleet.Parse(raw); err == nil {
			all = append(all, r)
		}
	}
	return fleet.Sort(all, log.Now), log.Now, nil
}

const noReports = "no process reports: stores do that which are opened with tier.WithReport"

const noHotKeys = "no process has reported a key that it reads: reports are written every ten seconds, and keys are sampled"

func (c *command) fleetCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "fleet",
		Short: "the processes that use the stores: how they are connected, their lag, what they read",
		Long: `fleet lists the processes whose stores are opened with tier.WithReport, which write a report every ten seconds.
The lag is the age of what a process knows of changes.`,
		Args: arguments(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			reports, now, err := c.reports(cmd.Context())
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(append([]fleet.Report{}, reports...))
			}
			return c.printFleet(reports, now)
		},
	}
}

func (c *command) printFleet(reports []fleet.Report, now time.Time) error {
	if len(reports) == 0 {
		_, err := fmt.Fprintln(c.out, noReports)
		return err
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "process\tup\tmode\tlag\treads/s\tlocal\tremote\tloads/s\tentries\tlocal size\ttrouble")
	for i := range reports {
		r := &reports[i]
		fmt.Fprintf(w, "%s/%d\t%v\t%s\t%v\t%.4g\t%s\t%s\t%.4g\t%d\t%s\t%s\n", printable(r.Host), r.PID, now.Sub(r.Opened).Round(time.Second), printable(r.Mode),
			r.Lag(), r.Reads, share(r.Local, r.Reads), share(r.Remote, r.Reads), r.Loads, r.Entries, bytesOf(r.Bytes), cmp.Or(r.Trouble(), "none"))
	}
	return w.Flush()
}

func share(part, all float64) string {
	if all <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", 100*min(1, part/all))
}

func (c *command) topCommand() *cobra.Command {
	most := 20
	cmd := &cobra.Command{
		Use:   "top",
		Short: "the keys that the fleet reads most",
		Long: `top adds up the keys that the processes of fleet read most, as their last reports say. Reports have keys as hashes: what is
printed is the server's name of the entry, which tierctl explain takes.`,
		Args: arguments(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if most < 1 {
				return usagef("--top %d: must be at least 1", most)
			}
			reports, _, err := c.reports(cmd.Context())
			if err != nil {
				return err
			}
			totals := fleet.Top(reports)
			rows := make([]topRow, 0, min(most, len(totals)))
			for _, t := range totals[:min(most, len(totals))] {
				rows = append(rows, topRow{t.PerSecond, t.Processes, t.Namespace, namespacePrefix(c.connection.prefix, t.Namespace) + ":{" + t.Hash + "}"})
			}
			if c.json {
				return c.printJSON(rows)
			}
			return c.printTop(rows, len(reports))
		},
	}
	cmd.Flags().IntVar(&most, "top", most, "print so many")
	return cmd
}

// topRow is a key that is read much.
type topRow struct {
	PerSecond float64 `json:"perSecond"`
	Processes int     `json:"processes"`
	Namespace string  `json:"namespace"`
	Name      string  `json:"serverName"`
}

func (c *command) printTop(rows []topRow, processes int) error {
	if processes == 0 {
		_, err := fmt.Fprintln(c.out, noReports)
		return err
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintln(c.out, noHotKeys)
		return err
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "reads/s\tprocesses\tnamespace\tin the server")
	for _, r := range rows {
		fmt.Fprintf(w, "%.4g\t%d of %d\t%s\t%s\n", r.PerSecond, r.Processes, processes, printable(r.Namespace), printable(r.Name))
	}
	return w.Flush()
}
