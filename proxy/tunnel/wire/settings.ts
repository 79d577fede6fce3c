/** HTTP/2 as a ztunnel speaks it: windows, streams, headers, pings. */
import type { Settings } from 'node:http2'

/** Of the whole session: more than some streams may fill, so that one that is not read holds up no other. */
export const sessionWindow = 16 << 20
/** MiB that node:http2 may hold for one session: its default of 10 is less than the window. */
export const sessionMemory = 64
/** How long TLS may take. */
export const handshakeMs = 5000
/** How long a refused peer may take to read why. */
export const refusalMs = 500

/** The text of its GOAWAY. */
export function refusalText(why: string): string {
  return `the gateway refuses this client: ${why}`
}

/** An idle pooled tunnel goes after this. */
export const idleTunnelMs = 5 * 60_000
/** Streams that a client opens in one tunnel; what a server accepts is more. */
export const streamsPerTunnel = 100

const common: Settings = { initialWindowSize: 4 << 20, maxFrameSize: 1 << 20, enablePush: false }

export const clientSettings: Settings = { ...common, maxHeaderListSize: 16 << 10 }

/** Streams that a peer may have in one session. */
export const streamsPerSession = 200

/** Extended CONNECT (RFC 8441) is for CONNECT-UDP. As in native/src/tunnel/session.cc. */
export const serverSettings: Settings = {
  ...common,
  enablePush: undefined,
  maxConcurrentStreams: streamsPerSession,
  maxHeaderListSize: 64 << 10,
  enableConnectProtocol: true,
}

/**
 * The window of each stream when so many are open. What a stream's reader does not take waits here, so that windows of full size
 * for thousands of streams would be gigabytes; with few, one is enough for 40 MB/s over 100 ms.
 */
export function streamWindow(streams: number): number {
  if (streams <= 16) return 4 << 20
  if (streams <= 256) return 1 << 20
  return streams <= 1024 ? 256 << 10 : 64 << 10
}
