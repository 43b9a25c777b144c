/** The UDP header (RFC 768): fields over (view, offset). No meaning is checked here. */

export const UDP_HEADER_LENGTH = 8;
/** Offset of the checksum field; 0 there means 'none' (IPv4 only, RFC 8200 section 8.1). */
export const UDP_CHECKSUM = 6;

export function udpSourcePort(view: DataView, at: number): number {
  return view.getUint16(at);
}

export function udpDestinationPort(view: DataView, at: number): number {
  return view.getUint16(at + 2);
}

/** Bytes of header and data. */
export function udpLength(view: DataView, at: number): number {
  return view.getUint16(at + 4);
}

export function udpChecksum(view: DataView, at: number): number {
  return view.getUint16(at + UDP_CHECKSUM);
}

/** Writes the header; the checksum is left 0. */
export function writeUdpHeader(view: DataView, at: number, sourcePort: number, destinationPort: number, length: number): void {
  view.setInt32(at, (sourcePort << 16) | destinationPort);
  view.setInt32(at + 4, length << 16);
}
