// Connections of a gateway: a stream that another cluster has asked for stands in the place of the client, and the socket of the
// backend, which TypeScript has connected, takes it as a client would. So what the connection calls the client is the backend here.
#include <cerrno>

#include "pump/pump.h"

namespace starlane {

void Pump::answerStream(int32_t token, bool last, std::string fields) { tunnels_.answer(token, last, std::move(fields)); }

void Pump::leaveTunnel(int32_t id, uint32_t code, std::string text) { tunnels_.leave(id, code, std::move(text)); }

// Of one that a connection has taken.
void Pump::resetStream(const Record& command) {
  Stream* stream = tunnels_.asked(command.slot);
  if (stream == nullptr || !stream->taken()) return tunnels_.reset(command.slot, static_cast<uint32_t>(command.error));
  const auto slot = static_cast<uint32_t>(stream->slot);
  cut(slot, connections_[slot], Reason::Cut);
}

void Pump::reportServed(const Connection& connection, int32_t token, Reason reason) {
  Record event = recordOf(Event::StreamGone, static_cast<uint32_t>(token), 0);
  switch (reason) {
    case Reason::ClientReset:
      reason = connection.timedOut ? Reason::BackendLost : Reason::BackendReset;
      break;
    case Reason::BackendReset:
    case Reason::BackendLost:
      reason = Reason::ClientReset;
      break;
    default:
      break;
  }
  event.reason = static_cast<int32_t>(reason);
  event.totals.sent = static_cast<double>(connection.from[kBackend].bytes);
  event.totals.received = static_cast<double>(connection.from[kClient].bytes);
  outbox_.send(event);
}

// False without room for it.
bool Pump::reportServedBytes(Connection& connection) {
  const uint64_t sent = connection.from[kBackend].bytes;
  const uint64_t received = connection.from[kClient].bytes;
  const bool isHalf = connection.halfClosed();
  if (sent + received == connection.reported && isHalf == connection.halfReported) return true;
  if (!outbox_.roomForReports()) return false;
  connection.reported = sent + received;
  connection.halfReported = isHalf;
  Record record = recordOf(Event::StreamCarried, static_cast<uint32_t>(connection.stream->token), 0);
  record.halfClosed = isHalf ? 1 : 0;
  record.totals.sent = static_cast<double>(sent);
  record.totals.received = static_cast<double>(received);
  outbox_.send(record);
  return true;
}

}  // namespace starlane
