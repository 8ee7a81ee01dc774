package countergroup

import "fmt"

// MeterType says how a meter puts updates together (specification 1.3). The numbers are those scripts see as T.K.vartype.
type MeterType int

const (
	Counter      MeterType = 2  // sum of the updates in the bucket
	Rate         MeterType = 4  // sum of the updates / seconds of the bucket
	Gauge        MeterType = 5  // last value written in the bucket
	Running      MeterType = 8  // sum of all updates ever; updates may be negative
	Average      MeterType = 9  // mean of the updates in the bucket
	DeltaRate    MeterType = 10 // growth of an absolute counter in the bucket / seconds of the bucket
	Maximum      MeterType = 11 // largest update in the bucket
	Minimum      MeterType = 12 // smallest update in the bucket
	slidingRate  MeterType = 1  // taken as Rate
	slidingCount MeterType = 3  // taken as Counter
	gaugeMinMax  MeterType = 6  // taken as Gauge
	automatic    MeterType = 7  // taken as Gauge
)

// String is the name as in T.K.vartype.
func (t MeterType) String() string {
	switch t {
	case Counter:
		return "COUNTER"
	case Rate:
		return "RATE_COUNTER"
	case Gauge:
		return "GAUGE"
	case Running:
		return "RUNNING_COUNTER"
	case Average:
		return "AVERAGE"
	case DeltaRate:
		return "DELTA_RATE_COUNTER"
	case Maximum:
		return "MAXIMUM"
	case Minimum:
		return "MINIMUM"
	}
	return fmt.Sprintf("MeterType(%d)", int(t))
}

// known returns the type a number stands for; 0 when there is none.
func (t MeterType) known() MeterType {
	switch t {
	case Counter, Rate, Gauge, Running, Average, DeltaRate, Maximum, Minimum:
		return t
	case slidingRate:
		return Rate
	case slidingCount:
		return Counter
	case gaugeMinMax, automatic:
		return Gauge
	}
	return 0
}

// MeterTypes returns the types there are.
func MeterTypes() []MeterType {
	return []MeterType{Counter, Rate, Gauge, Running, Average, DeltaRate, Maximum, Minimum}
}

// Meter is one column of a group.
type Meter struct {
	ID                      int
	Type                    MeterType
	Top                     int // keys on the topper list; 0: no list
	Bottom                  int // kept as configured, no list is made (specification 1.5)
	Name, Description, Unit string
}
