/** Checks the validity period of a certificate before it is used. */
import { X509Certificate } from 'node:crypto'
import { messageOf } from '../model/error.ts'

/** Why a certificate is not valid at `now` (wall-clock milliseconds), with the file and the remedy; undefined when it is. */
export function certificateFault(pem: Uint8Array, file: string, now: number): string | undefined {
  let certificate: X509Certificate
  try {
    certificate = new X509Certificate(pem)
  } catch (error) {
    return `${file} does not contain a certificate (${messageOf(error)}); give a PEM file`
  }
  const { validFromDate, validToDate, subject } = certificate
  const who = subject.replaceAll('\n', ', ')
  if (validToDate.getTime() < now) return `the certificate ${file} (${who}) expired on ${dayOf(validToDate)}; renew it`
  if (validFromDate.getTime() > now) {
    return `the certificate ${file} (${who}) is not valid before ${dayOf(validFromDate)}; check the clock of this machine`
  }
  return undefined
}

function dayOf(date: Date): string {
  return date.toISOString().slice(0, 16).replace('T', ' ')
}
