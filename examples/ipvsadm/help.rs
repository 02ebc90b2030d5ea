//! What the program says about itself.

/// The first line of the help.
pub(crate) fn version() -> String {
    format!(
        "ipvsadm of the ipvs crates v{} (as ipvsadm v1.31, IPVS v1.2.1)",
        env!("CARGO_PKG_VERSION")
    )
}

/// The help.
pub(crate) fn text(program: &str) -> String {
    format!(
        "{version}

  {program} -A|-E SERVICE [-s SCHEDULER] [-p [SECONDS]] [-M NETMASK] [--pe ENGINE] [-b FLAGS] [-o]
  {program} -a|-e SERVICE -r SERVER [-g|-i|-m] [-w WEIGHT] [-x UPPER] [-y LOWER] [TUNNEL]
  {program} -D SERVICE                      {program} -d SERVICE -r SERVER
  {program} -L [SERVICE] [SHOWN]            {program} -Z [SERVICE]
  {program} -S [-n] > FILE                  {program} -R < FILE
  {program} -C                              {program} --set TCP TCPFIN UDP
  {program} --start-daemon master|backup [DAEMON]
  {program} --stop-daemon master|backup

SERVICE   -t, --tcp-service ADDRESS[:PORT]      -u, --udp-service ADDRESS[:PORT]
          --sctp-service ADDRESS[:PORT]         -f, --fwmark-service MARK [-6, --ipv6]
SERVER    -r, --real-server ADDRESS[:PORT]; without a port that of the service

Changes
  -A, --add-service      -E, --edit-service     -D, --delete-service
  -a, --add-server       -e, --edit-server      -d, --delete-server
  -C, --clear            remove everything      -Z, --zero       set counters to zero
  -S, --save             print as commands      -R, --restore    make what the commands say
  --set                  seconds for TCP connections, TCP connections after a FIN, UDP flows; 0 keeps

Of a service
  -s, --scheduler        rr wrr lc wlc (default) lblc lblcr dh sh mh sed nq fo ovf, or any that the kernel has
  -p, --persistent       one server for each client, for so many seconds (360)
  -M, --netmask          clients of one network count as one: mask, or prefix length of IPv6
  --pe                   what makes a client, instead of its address: sip
  -b, --sched-flags      sh-fallback sh-port mh-fallback mh-port flag-1 flag-2 flag-3, with commas
  -o, --ops              one packet, one decision (UDP)

Of a server
  -g, --gatewaying       direct routing (default)     -m, --masquerading   network address translation
  -i, --ipip             tunnel                       -w, --weight         0 takes no new connections (1)
  -x, --u-threshold      connections at which it takes no more
  -y, --l-threshold      connections at which it takes some again
TUNNEL    --tun-type ipip|gue|gre, --tun-port PORT, --tun-nocsum, --tun-csum, --tun-remcsum

SHOWN     -n, --numeric   -c, --connection   --stats   --rate   -X, --exact   --thresholds   --persistent-conn
          --tun-info   --timeout   --daemon   --nosort
DAEMON    --mcast-interface NAME (eth0), --syncid NUMBER, --sync-maxlen BYTES, --mcast-group ADDRESS,
          --mcast-port PORT, --mcast-ttl NUMBER
",
        version = version()
    )
}
