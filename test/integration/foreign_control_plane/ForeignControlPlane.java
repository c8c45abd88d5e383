import com.google.protobuf.Any;
import com.google.protobuf.ByteString;
import envoy.service.discovery.v3.Discovery.DeltaDiscoveryRequest;
import envoy.service.discovery.v3.Discovery.DeltaDiscoveryResponse;
import envoy.service.discovery.v3.Discovery.DiscoveryRequest;
import envoy.service.discovery.v3.Discovery.DiscoveryResponse;
import envoy.service.discovery.v3.Discovery.Resource;
import io.grpc.MethodDescriptor;
import io.grpc.Server;
import io.grpc.ServerServiceDefinition;
import io.grpc.netty.NettyServerBuilder;
import io.grpc.protobuf.ProtoUtils;
import io.grpc.stub.ServerCalls;
import io.grpc.stub.StreamObserver;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.UUID;

/**
 * A control plane that shares nothing with Gatehouse but the standard's messages: grpc-java on Netty, a snapshot of
 * resources for each type, both variants of the protocol. A test tells it on stdin what to push, and reads on stdout
 * what gateways ask and answer.
 *
 * <pre>
 *   stdin    set TYPE NAME BASE64 | remove TYPE NAME | push | pause | resume | garbage TYPE
 *   stdout   listening PORT
 *            open delta|sotw, closed, subscribe TYPE, ack TYPE NONCE, nack TYPE NONCE MESSAGE
 * </pre>
 *
 * One lock guards everything: what is sent on a stream is sent in order.
 */
public final class ForeignControlPlane {
  private static final String URL = "type.googleapis.com/gatehouse.v1.";
  private static final String SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService";
  // What a type refers to comes before it.
  private static final String[] TYPES = {
    "Secret", "RateLimit", "Cluster", "Endpoints", "RouteTable", "Listener"
  };

  private record Entry(String version, ByteString bytes) {}

  /** All resources of a type, as they were when they were last pushed. */
  private static final class Snapshot {
    final Map<String, Entry> resources = new TreeMap<>();
    String version = "";
  }

  /** What a stream has asked of a type, and what it has been sent. */
  private static final class Subscription {
    boolean wildcard;
    final Set<String> names = new HashSet<>();
    final Map<String, String> sent = new HashMap<>();
    String version = null; // of the world sent last
    String nonce = "";
    boolean owed = false; // the answer to a question that came while paused

    boolean wants(String name) {
      return wildcard || names.contains(name);
    }
  }

  private abstract static class Stream {
    final Map<String, Subscription> subscriptions = new TreeMap<>();

    Subscription of(String type) {
      return subscriptions.computeIfAbsent(type, key -> new Subscription());
    }

    abstract void update(String type);

    abstract void garbage(String type);
  }

  private final Object lock = new Object();
  private final Map<String, Snapshot> pushed = new HashMap<>();
  private final Map<String, Snapshot> edited = new HashMap<>();
  private final Set<Stream> streams = new HashSet<>();
  private long revision = 0;
  private long nonces = 0;
  private boolean paused = false;

  private ForeignControlPlane() {
    for (String type : TYPES) {
      pushed.put(type, new Snapshot());
      edited.put(type, new Snapshot());
    }
  }

  private static void say(String line) {
    System.out.println(line.replace('\n', ' '));
    System.out.flush();
  }

  private static Any any(String type, ByteString bytes) {
    return Any.newBuilder().setTypeUrl(URL + type).setValue(bytes).build();
  }

  private static String typeOf(String url) {
    return url.startsWith(URL) ? url.substring(URL.length()) : url;
  }

  private String nonce(Subscription subscription) {
    subscription.nonce = Long.toString(++nonces);
    return subscription.nonce;
  }

  private final class DeltaStream extends Stream implements StreamObserver<DeltaDiscoveryRequest> {
    private final StreamObserver<DeltaDiscoveryResponse> out;

    DeltaStream(StreamObserver<DeltaDiscoveryResponse> out) {
      this.out = out;
    }

    @Override
    public void onNext(DeltaDiscoveryRequest request) {
      synchronized (lock) {
        String type = typeOf(request.getTypeUrl());
        boolean first = !subscriptions.containsKey(type);
        Subscription subscription = of(type);
        if (!request.getResponseNonce().isEmpty()) {
          answer(type, request.getResponseNonce(), request.hasErrorDetail(), request.getErrorDetail().getMessage());
        }
        List<String> added = request.getResourceNamesSubscribeList();
        if (first) {
          subscription.wildcard = added.isEmpty();
          subscription.sent.putAll(request.getInitialResourceVersionsMap());
          say("subscribe " + type);
        }
        for (String name : added) {
          if (name.equals("*")) {
            subscription.wildcard = true;
          } else {
            subscription.names.add(name);
            subscription.sent.remove(name); // asked for again: sent again
          }
        }
        for (String name : request.getResourceNamesUnsubscribeList()) {
          if (name.equals("*")) subscription.wildcard = false;
          subscription.names.remove(name);
          subscription.sent.remove(name);
        }
        if (first || !added.isEmpty()) send(type, first, added);
      }
    }

    @Override
    void update(String type) {
      if (subscriptions.containsKey(type)) send(type, false, List.of());
    }

    /** The difference to what the stream has; `always`: also if there is none. */
    private void send(String type, boolean always, List<String> asked) {
      Snapshot snapshot = pushed.get(type);
      if (snapshot == null) return;
      Subscription subscription = of(type);
      subscription.owed |= always;
      if (paused) return;
      DeltaDiscoveryResponse.Builder response = DeltaDiscoveryResponse.newBuilder();
      for (Map.Entry<String, Entry> one : snapshot.resources.entrySet()) {
        Entry entry = one.getValue();
        if (!subscription.wants(one.getKey())) continue;
        if (entry.version().equals(subscription.sent.get(one.getKey()))) continue;
        subscription.sent.put(one.getKey(), entry.version());
        response.addResources(
            Resource.newBuilder()
                .setName(one.getKey())
                .setVersion(entry.version())
                .setResource(any(type, entry.bytes())));
      }
      for (String name : new ArrayList<>(subscription.sent.keySet())) {
        if (snapshot.resources.containsKey(name)) continue;
        subscription.sent.remove(name);
        response.addRemovedResources(name);
      }
      for (String name : asked) {
        if (!name.equals("*") && !snapshot.resources.containsKey(name)) response.addRemovedResources(name);
      }
      boolean empty = response.getResourcesCount() == 0 && response.getRemovedResourcesCount() == 0;
      if (empty && !subscription.owed) return;
      subscription.owed = false;
      out.onNext(
          response
              .setTypeUrl(URL + type)
              .setSystemVersionInfo(snapshot.version)
              .setNonce(nonce(subscription))
              .build());
    }

    @Override
    void garbage(String type) {
      ByteString bytes = ByteString.copyFrom(new byte[] {(byte) 0xff, (byte) 0xff, 7});
      Resource resource =
          Resource.newBuilder().setName("garbage").setVersion("1").setResource(any(type, bytes)).build();
      out.onNext(
          DeltaDiscoveryResponse.newBuilder()
              .setTypeUrl(URL + type)
              .setNonce(nonce(of(type)))
              .addResources(resource)
              .build());
    }

    @Override
    public void onError(Throwable error) {
      close(this);
    }

    @Override
    public void onCompleted() {
      close(this);
      out.onCompleted();
    }
  }

  private final class WorldStream extends Stream implements StreamObserver<DiscoveryRequest> {
    private final StreamObserver<DiscoveryResponse> out;

    WorldStream(StreamObserver<DiscoveryResponse> out) {
      this.out = out;
    }

    @Override
    public void onNext(DiscoveryRequest request) {
      synchronized (lock) {
        String type = typeOf(request.getTypeUrl());
        boolean first = !subscriptions.containsKey(type);
        Subscription subscription = of(type);
        String nonce = request.getResponseNonce();
        if (!nonce.isEmpty()) answer(type, nonce, request.hasErrorDetail(), request.getErrorDetail().getMessage());
        if (!first && !nonce.equals(subscription.nonce)) return; // about a world that is gone
        Set<String> names = new HashSet<>(request.getResourceNamesList());
        boolean wildcard = names.isEmpty() || names.remove("*");
        boolean changed = first || wildcard != subscription.wildcard || !names.equals(subscription.names);
        subscription.wildcard = wildcard;
        subscription.names.clear();
        subscription.names.addAll(names);
        if (first) say("subscribe " + type);
        if (changed) subscription.version = null;
        update(type);
      }
    }

    @Override
    void update(String type) {
      Snapshot snapshot = pushed.get(type);
      if (snapshot == null || paused || !subscriptions.containsKey(type)) return;
      Subscription subscription = of(type);
      if (snapshot.version.equals(subscription.version)) return;
      subscription.version = snapshot.version;
      DiscoveryResponse.Builder response = DiscoveryResponse.newBuilder();
      for (Map.Entry<String, Entry> one : snapshot.resources.entrySet()) {
        if (subscription.wants(one.getKey())) response.addResources(any(type, one.getValue().bytes()));
      }
      out.onNext(
          response
              .setTypeUrl(URL + type)
              .setVersionInfo(snapshot.version)
              .setNonce(nonce(subscription))
              .build());
    }

    @Override
    void garbage(String type) {
      ByteString bytes = ByteString.copyFrom(new byte[] {(byte) 0xff, (byte) 0xff, 7});
      out.onNext(
          DiscoveryResponse.newBuilder()
              .setTypeUrl(URL + type)
              .setVersionInfo("garbage")
              .setNonce(nonce(of(type)))
              .addResources(any(type, bytes))
              .build());
      of(type).version = null;
    }

    @Override
    public void onError(Throwable error) {
      close(this);
    }

    @Override
    public void onCompleted() {
      close(this);
      out.onCompleted();
    }
  }

  private static void answer(String type, String nonce, boolean failed, String message) {
    say(failed ? "nack " + type + " " + nonce + " " + message : "ack " + type + " " + nonce);
  }

  private void close(Stream stream) {
    synchronized (lock) {
      if (streams.remove(stream)) say("closed");
    }
  }

  private <S extends Stream> S open(S stream, String kind) {
    synchronized (lock) {
      streams.add(stream);
      say("open " + kind);
    }
    return stream;
  }

  private ServerServiceDefinition service() {
    MethodDescriptor<DeltaDiscoveryRequest, DeltaDiscoveryResponse> delta =
        MethodDescriptor.<DeltaDiscoveryRequest, DeltaDiscoveryResponse>newBuilder()
            .setType(MethodDescriptor.MethodType.BIDI_STREAMING)
            .setFullMethodName(MethodDescriptor.generateFullMethodName(SERVICE, "DeltaAggregatedResources"))
            .setRequestMarshaller(ProtoUtils.marshaller(DeltaDiscoveryRequest.getDefaultInstance()))
            .setResponseMarshaller(ProtoUtils.marshaller(DeltaDiscoveryResponse.getDefaultInstance()))
            .build();
    MethodDescriptor<DiscoveryRequest, DiscoveryResponse> world =
        MethodDescriptor.<DiscoveryRequest, DiscoveryResponse>newBuilder()
            .setType(MethodDescriptor.MethodType.BIDI_STREAMING)
            .setFullMethodName(MethodDescriptor.generateFullMethodName(SERVICE, "StreamAggregatedResources"))
            .setRequestMarshaller(ProtoUtils.marshaller(DiscoveryRequest.getDefaultInstance()))
            .setResponseMarshaller(ProtoUtils.marshaller(DiscoveryResponse.getDefaultInstance()))
            .build();
    return ServerServiceDefinition.builder(SERVICE)
        .addMethod(delta, ServerCalls.asyncBidiStreamingCall(out -> open(new DeltaStream(out), "delta")))
        .addMethod(world, ServerCalls.asyncBidiStreamingCall(out -> open(new WorldStream(out), "sotw")))
        .build();
  }

  /** What was set and removed since, of each type that it concerns, in the order of the references. */
  private void push() {
    revision++;
    List<String> changed = new ArrayList<>();
    for (String type : TYPES) {
      Snapshot now = pushed.get(type);
      Map<String, Entry> next = edited.get(type).resources;
      if (now.resources.equals(next)) continue;
      now.resources.clear();
      now.resources.putAll(next);
      now.version = Long.toString(revision);
      changed.add(type);
    }
    for (Stream stream : streams) {
      for (String type : changed) stream.update(type);
    }
  }

  private void run(String line) {
    String[] words = line.split(" ");
    switch (words[0]) {
      case "set" -> {
        ByteString bytes = ByteString.copyFrom(Base64.getDecoder().decode(words.length > 3 ? words[3] : ""));
        // By content: a gateway tells its versions to the process that comes after this one.
        String version = UUID.nameUUIDFromBytes(bytes.toByteArray()).toString();
        edited.get(words[1]).resources.put(words[2], new Entry(version, bytes));
      }
      case "remove" -> edited.get(words[1]).resources.remove(words[2]);
      case "push" -> push();
      case "pause" -> paused = true;
      case "resume" -> {
        paused = false;
        for (Stream stream : streams) {
          for (String type : TYPES) stream.update(type);
        }
      }
      case "garbage" -> streams.forEach(stream -> stream.garbage(words[1]));
      default -> throw new IllegalArgumentException(line);
    }
  }

  public static void main(String[] arguments) throws Exception {
    ForeignControlPlane plane = new ForeignControlPlane();
    int port = arguments.length > 0 ? Integer.parseInt(arguments[0]) : 0;
    Server server =
        NettyServerBuilder.forAddress(new InetSocketAddress("127.0.0.1", port)).addService(plane.service()).build();
    server.start();
    say("listening " + server.getPort());
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      synchronized (plane.lock) {
        plane.run(line);
      }
    }
    server.shutdownNow();
    server.awaitTermination();
  }
}
