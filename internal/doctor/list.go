package doctor

// checks is the list of checks, in the order in which they are shown. To add one, write
// a function and give it a line here.
var checks = []check{
	{"schema", schemaVersion},
	{"database", databaseAnswers},
	{"database pool", databasePool},
	{"keys", keysWork},
	{"sealed rows", sealedRows},
	{"temporal", temporalAnswers},
	{"permissions", permissions},
	{"binding", bindingHolds},
	{"search attributes", searchAttributes},
	{"sweep", sweepRuns},
	{"workers", workersPoll},
	{"processes", processesReport},
	{"workflows", workflowsRun},
	{"overdue", overdue},
	{"doubt", inDoubt},
	{"replies", keptReplies},
	{"unfinished grants", unfinishedGrants},
	{"apps", apps},
	{"metadata", metadata},
	{"spool", spoolOfThisMachine},
	{"sets", setsInWorkflows},
	{"webhooks", webhooks},
	{"configuration", configuration},
}
