package proxy

import (
	"fmt"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/statsd/management"
)

const help = "Commands: config, health, status, quit\n\n"

// answer carries out one command of the management console.
func (p *Proxy) answer(line string) (text string, quit bool) {
	words := strings.Split(line, " ")
	switch words[0] {
	case "help":
		return help, false
	case "config":
		var settings []management.Setting
		if p.config.Settings != nil {
			settings = p.config.Settings()
		}
		return management.Render(settings), false
	case "health":
		return p.health.Answer(words[1:]), false
	case "status":
		return p.status(), false
	case "quit":
		return "", true
	}
	return "ERROR\n", false
}

func (p *Proxy) status() string {
	var b strings.Builder
	fmt.Fprintf(&b, "uptime: %d\nnodes: ", int(time.Since(p.started).Seconds()))
	for _, id := range p.Active() {
		b.WriteString(id + " ")
	}
	return b.String() + "\n"
}
