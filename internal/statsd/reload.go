package statsd

import (
	"reflect"
	"slices"
)

// reloadable are the fields of Config that can change while a server runs.
var reloadable = []string{
	"DeleteCounters", "DeleteTimers", "DeleteSets", "DeleteGauges", "GaugeTTL", "Histograms", "TimerMetrics", "Sanitize", "Prefix",
	"Debug", "MaxNames", "MaxTagSets", "TagRules", "TTL",
}

// merge returns running with the reloadable fields of next, and the names of
// the other fields in which they differ.
func merge(running, next Config) (merged Config, ignored []string) {
	merged = running
	into, from := reflect.ValueOf(&merged).Elem(), reflect.ValueOf(next)
	for i := range into.NumField() {
		name := into.Type().Field(i).Name
		switch {
		case slices.Contains(reloadable, name):
			into.Field(i).Set(from.Field(i))
		case !reflect.DeepEqual(into.Field(i).Interface(), from.Field(i).Interface()):
			ignored = append(ignored, name)
		}
	}
	return merged, ignored
}
