/** Opens a link to a gateway: in the pump where the engine carries tunnels, by node:http2 otherwise. */
import type { Socket } from 'node:net'
import type { Carrier, CarrierContext } from '../../model/tunnel/carrier.ts'
import type { Credentials } from '../certificates/credentials.ts'
import type { Material } from '../certificates/material.ts'
import { CarriedLink } from './carried-link.ts'
import type { Link, LinkEvents, LinkParts } from './link.ts'
import { NodeLink } from './node-link.ts'

/** `open`: a connection that leads to the gateway already. Throws why the certificates cannot be used. */
export function openLink(parts: LinkParts, open: Socket | undefined, events: LinkEvents): Link {
  const { gateway, identity, credentials, log } = parts
  const carrier = parts.carrier?.()
  if (carrier) {
    const context = carrierContext(carrier, credentials, identity.cluster)
    return new CarriedLink(gateway, carrier, context, open, events)
  }
  const secureContext = credentials.contextFor(identity.cluster)
  if (!secureContext) throw new Error('there is no usable certificate to show to it')
  return new NodeLink(gateway, secureContext, open, log, events)
}

/** By cluster. Made once for each change of the certificates. */
const contexts = new WeakMap<Material, Map<string, CarrierContext>>()

function carrierContext(carrier: Carrier, credentials: Credentials, cluster: string): CarrierContext {
  const { material } = credentials
  const pem = credentials.pemFor(cluster)
  if (!material || !pem) throw new Error('there is no usable certificate to show to it')
  const known = contexts.get(material) ?? new Map<string, CarrierContext>()
  contexts.set(material, known)
  const context = known.get(cluster) ?? carrier.context(pem.cert, pem.key, pem.roots)
  known.set(cluster, context)
  return context
}
