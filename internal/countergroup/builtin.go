package countergroup

import "slices"

// Builtin returns the definitions of the groups Weir knows (specification 6.2), in the order they are to be registered: first those flow
// records feed, then those only scripts feed. Register the ones that are wanted; a group that is not registered does not exist.
// SNMP-Interface is none of them: scripts define it, with different meters.
func Builtin() []Definition {
	hosts := build(
		byteRate(50, "Total"), byteRate(10, "Received", "Transmit"), packets(0, "Total Packets"), running(50, "Active conns"), count(20, "Attacker alerts"),
		byteRate(20, "Homenet", "External"), count(10, "TCP SYN sent", "TCP SYN recv", "TCP SYNACK sent"),
		count(20, "Blacklist alerts", "Victim alerts", "New conns"), byteRate(20, "Into Interface", "Outof Interface"), count(100, "Flow Records"))
	updown := build(byteRate(20, "Upload", "Download"))
	alerts := build(count(20, "Total Alerts"))
	seen := build(byteRate(20, "Total"), count(20, "Hits"))
	users := build(byteRate(50, "Total", "Download", "Upload", "Transit", "Internal"), count(50, "Flows"))
	return []Definition{
		{Title: "Aggregates", GUID: "{393B5EBC-AB41-4387-8F31-8077DB917336}", Meters: build(
			byteRate(0, "Total"), packets(0, "Packets"), count(0, "Active Sessions"),
			byteRate(0, "L2 Broadcast", "L2 Multicast", "L2 Unicast", "L3 Broadcast", "L3 Multicast", "L3 Unicast"), packets(0, "Fragments"))},
		{Title: "Hosts", GUID: "{4CD742B1-C1CA-4708-BE78-0FCA2EB01A86}", Meters: hosts},
		{Title: "Internal Hosts", GUID: "{889900CC-0063-11A5-8380-FEBDBABBDBEA}", Meters: hosts},
		{Title: "External Hosts", GUID: "{00AA77BB-0063-11A5-8380-FEBDBABBDBEA}", Meters: hosts},
		{Title: "HostsIPv6", GUID: "{9807E97A-6CD2-442F-BB18-8C104C8EB204}", Aliases: []string{"{6CD742B1-C1CA-4708-BE78-0FCA2EB01A86}"}, Meters: hosts},
		{Title: "Apps", GUID: "{C51B48D4-7876-479E-B0D9-BD9EFF03CE2E}", Meters: build(
			byteRate(50, "Total"), count(10, "Security Alerts"), byteRate(50, "Into Homenet", "Outof Homenet"), count(50, "Connections"),
			byteRate(50, "Internal Homenet", "Transit Homenet"), running(50, "Active Conns"), byteRate(50, "Into Interface", "Outof Interface"))},
		{Title: "NetworkLayerStats", GUID: "{E89BCD56-30AD-40F5-B1C8-8B7683F440BD}", Meters: build(
			byteRate(10, "Total"), count(10, "Packets"), running(10, "Active Flows"), count(10, "Total Flows"), byteRate(10, "Into Interface", "Outof Interface"))},
		{Title: "FlowGens", GUID: "{2314BB8E-2BCC-4B86-8AA2-677E5554C0FE}", Meters: build(
			byteRate(50, "Total", "Flow Volume"), rate(50, "records/s", "Flow Records"), byteRate(50, "Post Filter Bandwidth"), rate(50, "records/s", "Post Filter Flow Records"))},
		{Title: "FlowIntfs", GUID: "{C0B04CA7-95FA-44EF-8475-3835F3314761}", Meters: build(
			byteRate(1000, "Total", "Recv", "Xmit"), count(100, "Flows"), gauge(100, "%", "Recv-Util", "Xmit-Util"))},
		{Title: "Flow-ASN", GUID: "{120A3124-E2BB-47BD-6C64-71BBB861C428}", Meters: build(byteRate(10, "Total",
			"Recv from Upstream AS", "Transmit to Upstream AS", "Recv from Downstream AS", "Transmit to Downstream AS"))},
		{Title: "Mac", GUID: "{4B09BD22-3B99-40FC-8215-94A430EA0A35}", Meters: build(byteRate(20, "Transmit", "Receive"))},
		{Title: "Dir Mac", GUID: "{79F60A94-44BD-4C55-891A-77823D59161B}", Meters: build(byteRate(10, "Total"), byteRate(0, "A->Z", "Z->A"))},
		{Title: "VLANStats", GUID: "{0EC72E9E-3AD2-43FD-8173-74693EEA08D0}", Meters: build(byteRate(20, "Total", "Recv-Into-VLAN", "Xmit-To-VLAN"))},
		{Title: "LinkLayerStats", GUID: "{9F5AD3A9-C74D-46D8-A8A8-DCDD773730BA}", Meters: build(byteRate(10, "Total"), packets(10, "Packets"))},
		{Title: "Subnets", GUID: "{429B65AD-CDA4-452E-A852-24D8A3D0FBB3}", Meters: build(byteRate(10, "Total"), byteRate(0, "Received", "Transmit"), packets(0, "Packets"))},
		{Title: "Interfaces", GUID: "{8AC478BC-8891-0009-5F31-80774B010086}", Meters: build(byteRate(10, "Total"), packets(0, "Packets"))},
		{Title: "Country", GUID: "{00990011-44BD-4C55-891A-77823D59161B}", Meters: build(byteRate(30, "Upload Bytes", "Download Bytes"))},
		{Title: "ASNumber", GUID: "{03E016FC-46AA-4340-90FC-0E278B93C677}", Meters: updown},
		{Title: "City", GUID: "{6D201FA3-6F8B-4F83-73F7-CB0B8A66EA2E}", Meters: updown},
		{Title: "Prefix", GUID: "{2838D2E8-EABC-4050-90C4-8AE2589AAB25}", Meters: updown},
		{Title: "Alert Signatures", GUID: "{A0FA9464-B496-4A20-A9AB-4D2D09AFF902}", Meters: alerts},
		{Title: "Alert Classes", GUID: "{20BC4345-37F0-44D0-ABFF-3BED97363CB1}", Meters: alerts},
		{Title: "Alert Priorities", GUID: "{9EFAFDD0-6CBB-4C04-8B13-2C8E0A9D3F85}", Meters: alerts},
		{Title: "Meta Counter Group", GUID: "{4D88CC23-2883-4DEA-A313-A23B60FE8BDA}", Meters: build(
			gauge(0, "keys", "Master Size", "MRU Size", "Pending KU"), gauge(0, "us", "Flush US"),
			count(0, "Flush Keys", "New Keys", "Key Hits", "Unique Keys", "Heap mem", "Tail Prunes", "Hi Water Rej"))},
		{Title: "Meta Session Group", GUID: "{594606BD-EEB2-4E0B-BAC4-84B7057088C8}", Meters: build(
			gauge(0, "flows", "Master Size", "MRU"), count(0, "New", "Closed", "Expired", "Terminated", "Flushed", "FlushedActive", "Key Hits"),
			gauge(0, "bytes", "Heap"), count(0, "Tail Prunes", "Hi Water Rej", "After Term"), gauge(0, "us", "Flush USecs"))},
		{Title: "User ID", GUID: "{86A8880D-F4B2-4E49-A4FA-718880CAA976}", Meters: users},
		{Title: "App-ID", GUID: "{9021F5D3-FEFB-401B-99EC-EF2ACD088578}", Meters: users},

		{Title: "Web Hosts", GUID: "{EEF95297-0C8D-4673-AD6B-F4BD2345FD69}", Meters: hosts},
		{Title: "Email Hosts", GUID: "{22D4082E-B8BA-40D0-A287-1F524DF8DA7B}", Meters: hosts},
		{Title: "SSH Hosts", GUID: "{439002E4-3758-4E88-9438-8034FE1616AF}", Meters: hosts},
		{Title: "Unusual Traffic Hosts", GUID: "{AE3A1449-5663-41A5-A028-FDE61DBB7EFA}", Meters: hosts},
		{Title: "HTTP Hosts", GUID: "{D2AAD7C6-E129-4366-A2AD-A8CB9AA4C2F4}", Meters: seen},
		{Title: "HTTP Content Types", GUID: "{C0C9757F-2005-4CC5-BB96-D72F607E6188}", Meters: seen},
		{Title: "HTTP Methods", GUID: "{2A6957EB-4992-46CD-8E49-BE32318669D3}", Meters: seen},
		{Title: "HTTP Status Codes", GUID: "{25E80A84-C175-4C01-977C-1411F5D10B56}", Meters: seen},
		{Title: "TLS Orgs", GUID: "{432D7552-0363-4640-9CC5-23E4CA8410EA}", Meters: seen},
		{Title: "TLS Ciphers", GUID: "{5B64A573-623F-4F5B-8865-78C62BF466A7}", Meters: seen},
		{Title: "TLS CAs", GUID: "{15856A98-7F87-46D7-84D2-18DD549F8A6F}", Meters: seen},
		{Title: "ICMP Types", GUID: "{FA6466E2-EA6A-4E75-8F39-ADE7708C6F46}", Meters: seen},
		{Title: "Blacklist", GUID: "{6255BD85-2DCB-49E7-AF1F-1267AAF4DCA1}", Meters: seen},
		{Title: "Remote Office", GUID: "{664D68BF-5544-43CE-A895-50F2E179EA5A}", Meters: seen},
		{Title: "Organization", GUID: "{0D39F2A7-2627-49D5-9DCF-707E6F1C0571}", Aliases: []string{"{3A597F63-29C0-44AF-A7EF-641897D68693}"}, Meters: seen},
		{Title: "MPLSStats", GUID: "{6C312435-80C1-401F-AEDD-090FF4F46212}", Meters: seen},
		{Title: "Flow-Prefix", GUID: "{2BE2A3B6-613D-4216-0737-3684E824EA33}", Meters: seen},
		{Title: "Flow-VRF", GUID: "{7FAB8F84-C580-424B-2BA4-B2546D2DB15A}", Meters: seen},
		{Title: "Flow-IP-NextHop", GUID: "{79693CA3-ED3C-43B3-E12A-A3F64B125E4F}", Meters: seen},
		{Title: "Flow-BGP-NextHop", GUID: "{FC61EC07-BED0-4734-C64C-F5932FD8B943}", Meters: seen},
	}
}

// OtherGroup is a named group that holds something else than counters (specification 6.3). GUIDs are unique within a kind only.
type OtherGroup struct {
	Kind        string // alert, resource, fts or session
	Title, GUID string
}

// OtherGroups returns the groups of other kinds Weir knows.
func OtherGroups() []OtherGroup {
	return []OtherGroup{
		{"alert", "IDS Alerts", "{9AFD8C08-07EB-47E0-BF05-28B4A7AE8DC9}"},
		{"alert", "Blacklist", "{5E97C3A3-41DB-4E34-92C3-87C904FAB83E}"},
		{"alert", "Threshold Crossing", "{03AC6B72-FDB7-44C0-9B8C-7A1975C1C5BA}"},
		{"alert", "Flow Tracker", "{18CE5961-38FF-4AEA-BAF8-2019F3A09063}"},
		{"alert", "System Alerts", "{F69C2462-ECEA-45B8-B1CB-F90342D37A4F}"},
		{"alert", "User Alerts", "{B5F1DECB-51D5-4395-B71B-6FA730B772D9}"},
		{"resource", "DNS", "{D1E27FF0-6D66-4E57-BB91-99F76BB2143E}"},
		{"resource", "HTTP URLs", "{4EF9DEB9-4332-4867-A667-6A30C5900E9E}"},
		{"resource", "SSL Certificates", "{5AEE3F0B-9304-44BE-BBD0-0467052CF468}"},
		{"resource", "File Hashes", "{9781DB2C-F78A-4F7F-A7E8-2B1A9A7BE71A}"},
		{"fts", "SSL Certs", "{9FEB8ADE-ADBB-49AD-BC68-C6A02F389C71}"},
		{"fts", "HTTP Headers", "{28217924-E7A5-4523-993C-44B52758D5A8}"},
		{"fts", "DNS", "{09B305DF-078C-4B9E-8E2F-EA64B7326880}"},
		{"session", "IP flows", "{99A78737-4B41-4387-8F31-8077DB917336}"},
	}
}

// build numbers meters from 0.
func build(parts ...[]Meter) []Meter {
	meters := slices.Concat(parts...)
	for i := range meters {
		meters[i].ID = i
	}
	return meters
}

func of(t MeterType, top int, unit string, names []string) (meters []Meter) {
	for _, name := range names {
		meters = append(meters, Meter{Type: t, Top: top, Name: name, Unit: unit})
	}
	return meters
}

func rate(top int, unit string, names ...string) []Meter  { return of(Rate, top, unit, names) }
func byteRate(top int, names ...string) []Meter           { return of(Rate, top, "bytes/s", names) }
func packets(top int, names ...string) []Meter            { return of(Rate, top, "packets/s", names) }
func count(top int, names ...string) []Meter              { return of(Counter, top, "", names) }
func running(top int, names ...string) []Meter            { return of(Running, top, "", names) }
func gauge(top int, unit string, names ...string) []Meter { return of(Gauge, top, unit, names) }
