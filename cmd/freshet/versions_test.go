package main

import (
	"strconv"
	"testing"

	"github.com/freshet/freshet/bench/cluster"
)

// TestOnOtherVersionsOfPostgres runs again, with servers of the other versions, what tells soonest that one of them differs: that
// clients see what they see directly, in every way of asking; that the cache follows the WAL; that the parts which read the
// catalog and statistics of a server understand them.
func TestOnOtherVersionsOfPostgres(t *testing.T) {
	for _, major := range cluster.OtherVersions {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			cluster.Again(t, major, []string{"-rapid.checks=10"},
				"TestWhatAClientSeesIsWhatPostgresSays",
				"TestTransactionsAreAsInPostgres",
				"TestHazard05Hazard06Hazard07ScriptsGiveWhatPostgresGives", // with what is new in them
				"TestHazard07PreparingAnewAfterDDLHelps",
				"TestHazard02CopyDataThatDoesntWaitIsNotLost",
				"TestCachedAnswersFollowEveryKindOfChange",
				"TestAPromotedReplicaTakesOver",
				"TestHazard04Protocol32OnBothSides",
				"TestTLSToServers",
				"TestSetup",
				"TestCheck",
				"TestConsistency",
			)
		})
	}
}
