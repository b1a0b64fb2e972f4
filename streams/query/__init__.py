"""What a running application tells of itself."""
