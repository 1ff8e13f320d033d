#ifndef PLACEMENT_REFERENCE_H
#define PLACEMENT_REFERENCE_H

#include <stdint.h>

/// One replica of an input; eta is seconds from now, at most zero for one that is there.
struct pr_replica {
  int32_t cluster;
  float eta;
};

/// Clusters as plain vectors of `count` floats.
struct pr_clusters {
  int32_t count;
  const float *wait, *backlog_in, *backlog_out, *seconds_per_byte_in, *seconds_per_byte_out, *slowness, *price_per_second,
      *egress_per_byte, *price_per_byte_in;
};

/// Scores one task with `inputs` inputs (at most 64) of `replicas` replicas each, row by row, and returns the best cluster.
/// `scores` has room for `count` floats, `scratch` for `count` 32-bit numbers that are -1 on entry and on return.
int32_t pr_decide(const struct pr_clusters *clusters, int32_t inputs, int32_t replicas, const float *sizes,
                  const struct pr_replica *rows, float runtime, float tail, float lambda, float *scores,
                  int32_t *scratch);

#endif
