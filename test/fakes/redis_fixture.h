// A worker with its Upstreams and calls of Redis that remember their results: RedisFixture.
#pragma once

#include "test/upstream/redis_fixture.h"  // IWYU pragma: export
