#include "source/upstream/balancer.h"

#include "source/base/random.h"
#include "source/upstream/round_robin.h"

namespace gatehouse::upstream {

std::unique_ptr<Balancer> MakeBalancer(LoadBalancing policy) {
  switch (policy) {
    case LoadBalancing::kRoundRobin:
      break;
  }
  return std::make_unique<RoundRobin>(ThreadRandom());
}

}  // namespace gatehouse::upstream
