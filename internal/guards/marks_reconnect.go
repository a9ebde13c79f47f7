package main

func init() {
	marks = append(marks, []mark{
		{"V1-lost-shard", "drop", "./remote TestALostConnectionOfACluster"},
		{"V1-flush-in-cluster", "drop", "./remote TestAClusterPassesTheBattery"},
		{"V1-earlier-probe", "operand 3", "./remote TestALostConnectionOfACluster"},
		{"V1-connection-of-log", "false", "TestInAClusterTheLossOfTheLogsConnection"},
		{"R6-dial-in-cluster", "drop", "./remote TestALostConnectionOfACluster"},
		{"R6-proof-since-move", "operand 3", "TestI2WhatAnotherServerAnswers"},
		{"R6-read-overtaken-by-move", "operand 2", "TestI2AReadThatAMoveOvertakes"},
		{"R6-demoted-server-proves-nothing", "operand 2", "./remote TestAServerThatHasJust"},
		{"I6-admitted-before-proof", "drop", "./remote TestAServerThatHasJust"},
		{"I6-admitted-server-is-unproven", "operand 2", "./remote TestAServerThatHasJust"},
		{"V6-left-to-reads", "operand 1", "TestInAClusterWithoutTracking"},
		{"R9-warm-read-of-server", "sub shards[i] => c.s.Session.ShardOf(names[i])", "TestI2AWarmReadIsOfTheServer"},
	}...)
}
