package statsd

import (
	"fmt"
	"time"
)

// FormatDate renders t in its own zone as JavaScript's String(date) does:
// "Sun Nov 22 2026 01:59:19 GMT+0000 (Coordinated Universal Time)".
func FormatDate(t time.Time) string {
	return t.Format("Mon Jan 02 2006 15:04:05 GMT-0700 (") + zoneName(t) + ")"
}

// zone is what Go knows of a time zone. The offset tells apart the zones that share an abbreviation.
type zone struct {
	abbreviation string
	offset       int // minutes east of Greenwich
}

// zoneNames are the long names Node prints in English, where abbreviation and
// offset decide between them. Zones the tz database has no letters for
// ("-03" is used in ten countries with as many names) are printed by offset.
var zoneNames = map[zone]string{
	{"UTC", 0}:     "Coordinated Universal Time",
	{"GMT", 0}:     "Greenwich Mean Time",
	{"BST", 60}:    "British Summer Time",
	{"IST", 60}:    "Irish Standard Time",
	{"WET", 0}:     "Western European Standard Time",
	{"WEST", 60}:   "Western European Summer Time",
	{"CET", 60}:    "Central European Standard Time",
	{"CEST", 120}:  "Central European Summer Time",
	{"EET", 120}:   "Eastern European Standard Time",
	{"EEST", 180}:  "Eastern European Summer Time",
	{"MSK", 180}:   "Moscow Standard Time",
	{"WAT", 60}:    "West Africa Time",
	{"CAT", 120}:   "Central Africa Time",
	{"EAT", 180}:   "East Africa Time",
	{"SAST", 120}:  "South Africa Standard Time",
	{"IST", 120}:   "Israel Standard Time",
	{"IDT", 180}:   "Israel Daylight Time",
	{"PKT", 300}:   "Pakistan Standard Time",
	{"IST", 330}:   "India Standard Time",
	{"+0545", 345}: "Nepal Time",
	{"WIB", 420}:   "Western Indonesia Time",
	{"WITA", 480}:  "Central Indonesia Time",
	{"WIT", 540}:   "Eastern Indonesia Time",
	{"CST", 480}:   "China Standard Time",
	{"HKT", 480}:   "Hong Kong Standard Time",
	{"PST", 480}:   "Philippine Standard Time",
	{"JST", 540}:   "Japan Standard Time",
	{"KST", 540}:   "Korean Standard Time",
	{"AWST", 480}:  "Australian Western Standard Time",
	{"ACST", 570}:  "Australian Central Standard Time",
	{"ACDT", 630}:  "Australian Central Daylight Time",
	{"AEST", 600}:  "Australian Eastern Standard Time",
	{"AEDT", 660}:  "Australian Eastern Daylight Time",
	{"NZST", 720}:  "New Zealand Standard Time",
	{"NZDT", 780}:  "New Zealand Daylight Time",
	{"NST", -210}:  "Newfoundland Standard Time",
	{"NDT", -150}:  "Newfoundland Daylight Time",
	{"AST", -240}:  "Atlantic Standard Time",
	{"ADT", -180}:  "Atlantic Daylight Time",
	{"EST", -300}:  "Eastern Standard Time",
	{"EDT", -240}:  "Eastern Daylight Time",
	{"CST", -360}:  "Central Standard Time",
	{"CDT", -300}:  "Central Daylight Time",
	{"MST", -420}:  "Mountain Standard Time",
	{"MDT", -360}:  "Mountain Daylight Time",
	{"PST", -480}:  "Pacific Standard Time",
	{"PDT", -420}:  "Pacific Daylight Time",
	{"AKST", -540}: "Alaska Standard Time",
	{"AKDT", -480}: "Alaska Daylight Time",
	{"HST", -600}:  "Hawaii-Aleutian Standard Time",
	{"HDT", -540}:  "Hawaii-Aleutian Daylight Time",
	{"SST", -660}:  "American Samoa Standard Time",
	{"ChST", 600}:  "Chamorro Standard Time",
}

func zoneName(t time.Time) string {
	abbreviation, offset := t.Zone()
	minutes := offset / 60
	if name, ok := zoneNames[zone{abbreviation, minutes}]; ok {
		return name
	}
	sign := '+'
	if minutes < 0 {
		sign, minutes = '-', -minutes
	}
	return fmt.Sprintf("GMT%c%02d:%02d", sign, minutes/60, minutes%60)
}
