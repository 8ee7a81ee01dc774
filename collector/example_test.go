package collector_test

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"time"

	"github.com/weirhq/weir/collector"
)

// MyProtocolBot polls devices that speak MyProtocol.
type MyProtocolBot struct{ *collector.Client }

// Jobs is a job for every sensor of every device.
func (b MyProtocolBot) Jobs(ctx context.Context) iter.Seq2[collector.Job, error] {
	return func(yield func(collector.Job, error) bool) {
		for entityInfo, err := range b.FetchJobConfigs(ctx, "myprotocol") {
			if err != nil {
				yield(collector.Job{}, err)
				return
			}
			for _, sensorInfo := range entityInfo.Sensors {
				// The job could be triggered at different intervals - it is triggered when at least one of the specified intervals matches.
				intervals := []time.Duration{sensorInfo.Interval}
				// ID must be a unique, permanent identifier of a job. When it changes, the job will be rescheduled.
				jobID := strconv.FormatInt(sensorInfo.SensorID, 10)
				// What the job depends on: when it changes, the job begins anew.
				jobParams := JobParams{entityInfo, sensorInfo}
				job := collector.Job{ID: jobID, Intervals: intervals, Data: jobParams, Run: func(ctx context.Context, run collector.Run) error {
					return b.PerformJob(ctx, run.Affecting, jobParams)
				}}
				if !yield(job, nil) {
					return
				}
			}
		}
	}
}

// JobParams is what PerformJob gets.
type JobParams struct {
	EntityInfo *collector.JobConfig
	SensorInfo collector.SensorConfig
}

// PerformJob is called whenever the job needs to be done.
func (b MyProtocolBot) PerformJob(ctx context.Context, affectingIntervals []time.Duration, jobParams JobParams) error {
	// affectingIntervals: the intervals (subset of intervals yielded by Jobs) which caused this job to be triggered.

	// ... fetch data using jobParams ...
	values := []collector.Value{{Path: fmt.Sprintf("entity.%d.myprotocol.answer", jobParams.EntityInfo.EntityID), Value: 42}}

	// send the data to Weir:
	return b.SendResults(ctx, jobParams.EntityInfo.AccountID, values)
}

// A bot for a protocol of one's own. The server of the example stands for a Weir
// with one device of one sensor.
func Example() {
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	weir := pretend(stop)
	defer weir.Close()
	os.Setenv("BACKEND_URL", weir.URL+"/api")
	os.Setenv("BOT_TOKEN", "5f0c9e6e-57c4-4b11-9f5d-4c1e8f6c1a11")

	backendURL := os.Getenv("BACKEND_URL")
	botToken := os.Getenv("BOT_TOKEN")
	jobsRefreshInterval := time.Minute

	client, err := collector.Dial(ctx, collector.ClientConfig{URL: backendURL, Token: botToken})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	b := MyProtocolBot{client}
	if err := collector.New(collector.Config{Jobs: b.Jobs, Refresh: jobsRefreshInterval}).Run(ctx); err != nil { // blocking
		fmt.Println(err)
	}
	// Output: /api/accounts/7/values/ got entity.311.myprotocol.answer = 42
}

// pretend answers what the bot asks, and calls stop when it has got a value.
func pretend(stop func()) *httptest.Server {
	answers := map[string]string{
		"/api/profile/":                  `{"user_id": 88}`,
		"/api/accounts/":                 `{"list": [{"id": 7}]}`,
		"/api/accounts/7/entities/":      `{"list": [{"id": 311, "entity_type": "device"}]}`,
		"/api/accounts/7/entities/311":   `{"id": 311, "name": "lamp", "protocols": {"myprotocol": {"credential": 12, "bot": 88, "sensors": [{"sensor": 40, "interval": 1}]}}}`,
		"/api/accounts/7/credentials/12": `{"details": {}}`,
		"/api/accounts/7/sensors/40":     `{"default_interval": 60, "details": {}}`,
	}
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			fmt.Fprint(w, answers[r.URL.Path])
			return
		}
		values, err := decode(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		for path, value := range values {
			fmt.Println(r.URL.Path, "got", path, "=", value)
		}
		w.WriteHeader(http.StatusNoContent)
		stop()
	}))
}

// decode reads the values of a request.
func decode(r *http.Request) (map[string]float64, error) {
	var items []struct {
		P string
		V float64
	}
	err := json.NewDecoder(r.Body).Decode(&items)
	values := make(map[string]float64)
	for _, item := range items {
		values[item.P] = item.V
	}
	return values, err
}
