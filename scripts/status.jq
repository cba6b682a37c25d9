# Readings of `lancegate status --json`: one place that knows its shape.

def replicas: .connections[] | select(.role == "replica");

# True when every replica is up and serves the primary's version of the table.
def in_step($table):
    (.connections[] | select(.role == "primary") | .tables[] | select(.table == $table) | .version) as $newest
    | [replicas | .state == "up" and any(.tables[]; .table == $table and .version == $newest and .lag_versions == 0)]
    | length > 0 and all;

# Reads that each replica has answered, in the order of the configuration.
def reads: [replicas | .reads_total];
