/** The zone that every server of the comparison serves. */
export function serviceName(index: number): string {
  return `service-${index}.default.svc.cluster.local`
}

export function addressOf(index: number): string {
  return `10.96.${index >> 8}.${index & 255}`
}
