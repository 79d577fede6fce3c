/** All applications of the suite. */
import { bulk } from './bulk.ts'
import { dns } from './dns.ts'
import { grpc } from './grpc.ts'
import { mqtt } from './mqtt.ts'
import { postgresql } from './postgresql.ts'
import { quic } from './quic.ts'
import { redis } from './redis.ts'
import { openssh } from './ssh.ts'
import type { Application } from './support/application.ts'
import { tls } from './tls.ts'
import { websocket } from './websocket.ts'

export const applications: readonly Application[] = [
  ...[postgresql, redis, grpc, websocket, mqtt, tls, openssh, bulk, quic, dns],
]
