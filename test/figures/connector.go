package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/weirhq/weir/internal/bbdo"
	"github.com/weirhq/weir/internal/event"
)

// An installation: 100 services on each host, and how often each is checked.
const (
	hosts    = 1000
	services = 100
	rounds   = 3

	steadyAfter = 50 * time.Second // when what the flood of statuses took for a while is given back
)

// script is a connector that asks for names and sends lines in lots.
const script = `
local lines, n = {}, 0
function init() end
function write(d)
	if d.category ~= 1 or d.element ~= 29 then return n == 0 end
	n = n + 1
	lines[n] = tostring(broker_cache:get_hostname(d.host_id)) .. " " ..
		tostring(broker_cache:get_service_description(d.host_id, d.service_id)) .. " " .. d.state .. " " .. d.output
	if n < 1000 then return false end
	n = 0
	return #table.concat(lines, "\n") > 0
end
function flush() n = 0 return true end`

// connectorMemory starts path with one connector, sends it the configuration of an
// installation and statuses of every service as a poller does, and measures what the
// daemon and the script process have resident together and the script process alone, in
// MiB, when all is acknowledged and has been for a while. In the first figure pages that both have count once.
func connectorMemory(path string, measured map[string]float64) (err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "weir-figures-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	web, err := freeAddress()
	if err != nil {
		return err
	}
	broker, err := freeAddress()
	if err != nil {
		return err
	}
	config := fmt.Sprintf("data: data\nhttp: {listen: %q}\nsources: {statsd: [], bbdo: [{listen: \"tcp://%s\"}]}\nconnectors: [{name: lines, script: lines.lua}]\n", web, broker)
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "weir.yaml"), []byte(config), 0o600), os.WriteFile(filepath.Join(dir, "lines.lua"), []byte(script), 0o600)); err != nil {
		return err
	}
	logs, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return err
	}
	defer logs.Close()
	cmd := exec.Command(path, "run", "-c", "weir.yaml")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, logs, logs
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot start %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, cmd.Process.Signal(syscall.SIGTERM), cmd.Wait()) }()
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	if err := feed(ctx, broker, web); err != nil {
		text, _ := os.ReadFile(logs.Name())
		return fmt.Errorf("%w: %s", err, text)
	}
	time.Sleep(steadyAfter)
	pids, err := family(cmd.Process.Pid)
	if err != nil {
		return err
	}
	for _, pid := range pids {
		megabytes, err := resident(pid)
		if err != nil {
			return err
		}
		share, err := proportional(pid)
		if err != nil {
			return err
		}
		measured[" connector MB"] += share
		if pid != cmd.Process.Pid {
			measured[" connector script-MB"] += megabytes
		}
	}
	return nil
}

// feed sends an installation to broker and waits until the connector is done with it.
func feed(ctx context.Context, broker, web string) error {
	var client *bbdo.Client
	for {
		var err error
		client, err = bbdo.Connect(ctx, broker, bbdo.ClientConfig{
			Identity: bbdo.Identity{PollerID: 3, PollerName: "figures", BrokerName: "figures-module", PeerType: bbdo.Engine}, Version: bbdo.V301,
		})
		if err == nil {
			break
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
	var batch []event.Event
	send := func(format string, args ...any) error {
		e, err := event.ParseJSON(fmt.Appendf(nil, format, args...))
		if err != nil {
			return err
		}
		e.Source = 3
		if batch = append(batch, e); len(batch) == 500 {
			err = client.Send(batch...)
			batch = batch[:0]
		}
		return err
	}
	for h := 1; h <= hosts; h++ {
		if err := send(`{"category":1,"element":30,"host_id":%d,"name":"srv-web-%05d","address":"10.20.30.40","alias":"Web server of the shop","enabled":true,"check_command":"base_host_alive","instance_id":3}`, h, h); err != nil {
			return err
		}
		for s := 1; s <= services; s++ {
			if err := send(`{"category":1,"element":27,"host_id":%d,"service_id":%d,"description":"Disk-/var/lib/data-%d","display_name":"Disk-/var/lib/data-%d","enabled":true,"active_checks":true,"check_command":"OS-Linux-Disk-Global-SNMP!/var/lib/data!80!90","check_interval":5,"retry_interval":1,"check_period":"24x7","notification_period":"24x7","max_check_attempts":3,"notes_url":"https://wiki.example.org/runbooks/disk","icon_image":"ppm/operatingsystems-linux-snmp-disk.png"}`, h, s, s, s); err != nil {
				return err
			}
		}
	}
	for round := range rounds {
		for i := range hosts * services {
			h, s := i%hosts+1, i/hosts+1
			if err := send(`{"category":1,"element":29,"host_id":%d,"service_id":%d,"checked":true,"state":%d,"state_type":1,"last_check":%d,"next_check":%d,"latency":0.125,"execution_time":0.25,"check_attempt":1,"output":"OK: Disk /var/lib/data Total: 49.09 GB Used: 23.72 GB (48.32%%) Free: 25.37 GB (51.68%%)","perfdata":"'used'=25468321792B;0:42168954880;0:47440074240;0;52711193600 'inodes'=12.5%%;;;0;100"}`, h, s, i%2, 1700000000+300*round, 1700000300+300*round); err != nil {
				return err
			}
		}
	}
	const sent = hosts + hosts*services + rounds*hosts*services
	if err := client.Send(batch...); err != nil {
		return err
	}
	if err := client.Wait(ctx, sent); err != nil {
		return fmt.Errorf("the daemon did not acknowledge %d events: %w", sent, err)
	}
	for {
		left, err := backlog(web)
		if err != nil {
			return err
		}
		if left == 0 {
			return client.Stop(ctx)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the connector did not acknowledge %d events", left)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// backlog is how many events wait in queues.
func backlog(web string) (events int64, err error) {
	answer, err := http.Get("http://" + web + "/api/v1/queues")
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	var queues struct {
		Queues []struct {
			Events int64 `json:"events"`
		} `json:"queues"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&queues); err != nil {
		return 0, fmt.Errorf("cannot read the queues: %w", err)
	}
	if len(queues.Queues) == 0 {
		return 0, errors.New("there is no queue")
	}
	for _, q := range queues.Queues {
		events += q.Events
	}
	return events, nil
}

// family is a process and its children.
func family(pid int) ([]int, error) {
	pids := []int{pid}
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil, err
	}
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended
		}
		for _, word := range strings.Fields(string(text)) {
			child, err := strconv.Atoi(word)
			if err != nil {
				return nil, err
			}
			pids = append(pids, child)
		}
	}
	if len(pids) < 2 {
		return nil, errors.New("the daemon has no script process")
	}
	return pids, nil
}
