package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/internal/config"
	"github.com/weirhq/weir/internal/daemon"
	"github.com/weirhq/weir/internal/monitor"
)

// runMonitor is weir script run --api trisul.
func runMonitor(cmd *cobra.Command, script, input string) error {
	in := cmd.InOrStdin()
	if file, ok := in.(*os.File); ok && input == "" && terminalWidth(file) > 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "weir: reading counter updates from the terminal, one JSON object a line, up to ^D; --input FILE reads a file")
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	out := &monitorCalls{out: json.NewEncoder(cmd.OutOrStdout()), messages: cmd.ErrOrStderr()}
	out.out.SetEscapeHTML(false)
	cfg := config.Default()
	err := daemon.RunMonitor(ctx, cfg, script, input, in, "dev", newLog(cmd.ErrOrStderr(), cfg.Log.Format, slog.LevelWarn), out)
	switch {
	case err != nil:
		return failure{err}
	case out.raised > 0:
		return failure{fmt.Errorf("%d errors in the script", out.raised)}
	}
	return nil
}

// monitorCalls prints the calls of a run.
type monitorCalls struct {
	out      *json.Encoder
	messages io.Writer
	raised   int
}

// Call implements monitor.RunOutput.
func (m *monitorCalls) Call(c monitor.Call) error {
	m.raised += len(c.Errors)
	return m.out.Encode(c)
}

// Log implements monitor.RunOutput.
func (m *monitorCalls) Log(level slog.Level, text string) {
	fmt.Fprintf(m.messages, "%s: %s\n", level, text)
}
