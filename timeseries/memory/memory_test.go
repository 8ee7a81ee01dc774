package memory

import (
	"testing"

	"github.com/weirhq/weir/timeseries/drivertest"
)

func TestRules(t *testing.T) {
	drivertest.Run(t, func(*testing.T) drivertest.Driver { return new(Driver) })
}
