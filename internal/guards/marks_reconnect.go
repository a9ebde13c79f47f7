package main

func init() {
	marks = append(marks, []mark{
		{"V1-unknown-server", "sub return false => return true", "./remote TestALostConnectionOfACluster"},
		{"V1-lost-shard", "drop", "./remote TestALostConnectionOfACluster"},
		{"V1-log-that-moves", "operand 2", "./remote TestALostConnectionOfACluster"},
		{"V1-flush-in-cluster", "drop", "./remote TestAClusterPassesTheBattery"},
		{"V1-server-of-log", "operand 1", "./remote TestALostConnectionOfACluster"},
		{"V1-earlier-probe", "operand 2", "./remote TestALostConnectionOfACluster"},
		{"V1-connection-of-one-server", "true", "TestInAClusterALostConnectionSuspends"},
		{"V6-left-to-reads", "operand 1", "TestInAClusterWithoutTracking"},
		{"R9-warm-read-of-server", "sub shards[i] => c.s.Session.ShardOf(names[i])", "TestI2AWarmReadIsOfTheServer"},
	}...)
}
